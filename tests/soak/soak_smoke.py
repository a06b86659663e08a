"""soak_smoke: ./dev soak in some seconds: real servers on the library, then redis on an allocator
that loses blocks, which must be found.

What a few seconds can show is that the servers live, answer rightly and are sampled; they are no
evidence about growth, so that the margin is wide. The leak is far beyond it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

SOAK = Path(__file__).with_name("soak.py")


def run(out: Path, arguments: list[str]) -> tuple[int, dict, str]:
    done = subprocess.run([sys.executable, str(SOAK), "--out", str(out), *arguments],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print(done.stdout, flush=True)
    document = out / "soak.json"
    return done.returncode, json.loads(document.read_text()) if document.exists() else {}, \
        done.stdout


def expect(holds: bool, text: str) -> None:
    if not holds:
        sys.exit(f"soak_smoke: {text}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=Path, required=True, help="the build folder to test")
    parser.add_argument("--leaky", required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="carrel-soak-") as name:
        out = Path(name)
        status, document, _ = run(out / "real", [
            "--minutes", "0.12", "--load", "1", "--margin", "300", "--build",
            str(options.build), "--debug-service"])
        expect(status == 0, f"the servers: exit status {status}")
        for server, one in document["servers"].items():
            expect(one["counts"]["bursts"] > 0, f"{server} had no load")
            expect(one["counts"]["checks"] > 0 or one["counts"]["bursts"] < 5,
                   f"no answer of {server} was checked")
            expect(max(one["samples"]["private"]) > 1 << 20, f"{server} was not sampled")
        for file in ("soak.html", "soak.svg"):
            expect("</svg>" in (out / "real" / file).read_text(), f"{file} has no chart")
        status, document, text = run(out / "leaky", [
            "--minutes", "0.12", "--load", "1", "--servers", "redis", "--lib", options.leaky])
        expect(status == 1 and "redis grows" in text,
               f"blocks that are lost are not noticed: exit status {status}")
        status, _, text = run(out / "gone", [
            "--minutes", "0.1", "--servers", "redis", "--lib", str(out / "nothing.so")])
        expect(status == 2 and "no library at" in text, "a library that is not there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
