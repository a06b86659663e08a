#!/usr/bin/env python3
"""generated: the crate that ./dev bench-rustc generates compiles, whatever is drawn for it.

A small one for each of some seeds, checked by cargo; the same seed gives the same text, another
seed another; the text hardly repeats itself.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cargo

sys.path.insert(0, str(cargo.ROOT / "rust" / "bench"))
import generated  # noqa: E402

LINES = 2500
SEEDS = (1, 2, 3, 4)


def main() -> int:
    texts = set()
    for seed in SEEDS:
        made = generated.Crate(LINES, seed)
        again = generated.Crate(LINES, seed)
        cargo.check(made.files == again.files, f"seed {seed} gives two crates")
        text = "".join(made.files.values())
        texts.add(text)
        cargo.check(text.count("\n") == made.lines >= LINES, f"seed {seed}: {made.lines} lines")
        distinct = len(set(text.splitlines())) / made.lines
        cargo.check(distinct > 0.3, f"seed {seed}: {distinct:.0%} of the lines are distinct")
        with tempfile.TemporaryDirectory() as folder:
            generated.write(Path(folder), LINES, seed)
            cargo.run(["cargo", "check", "-q", "--offline"], cwd=Path(folder),
                      env=cargo.environment({"CARGO_TARGET_DIR": str(Path(folder) / "target")}))
    cargo.check(len(texts) == len(SEEDS), "seeds make no difference")
    print(f"generated: {len(SEEDS)} crates of {LINES} lines compile")
    return 0


if __name__ == "__main__":
    sys.exit(main())
