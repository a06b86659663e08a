"""Tests the demo: the figures of one short run, and that it fails without a table when the library
is missing, cannot be loaded, or does not replace malloc."""

import json
import subprocess
import sys
from pathlib import Path

from harness import HERE, App, main
from proof import Failure


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(HERE / "demo.py"), *arguments], text=True,
                          capture_output=True, check=False, timeout=240)


def demand_refusal(lib: Path, words: str) -> None:
    result = run_demo("--lib", str(lib), "--runs", "1", "--only", "g++")
    if result.returncode == 0 or result.stdout or words not in result.stderr:
        raise Failure(f"the demo on {lib} should fail with '{words}', but: status "
                      f"{result.returncode}\n{result.stdout}\n{result.stderr}")


def test_figures(app: App) -> None:
    result = run_demo("--lib", str(app.lib), "--runs", "1", "--only", "redis", "--json", "-")
    if result.returncode != 0:
        raise Failure(f"the demo failed: {result.stderr}")
    data = json.loads(result.stdout)
    by_name = data["programs"]["redis"]
    if list(data["programs"]) != ["redis"] or len(by_name) != 2:
        raise Failure(f"the demo ran something else: {data['programs']}")
    for name, (run,) in by_name.items():
        if not run["wall_seconds"] > 0.1:
            raise Failure(f"{name}: a load of {run['wall_seconds']} s is none")
        # 250,000 values of some 240 bytes, less a tenth: what stays is far above an empty server.
        if not 50_000 < run["peak_kib"] < 2_000_000 or not 8_000 < run["idle_kib"]:
            raise Failure(f"{name}: memory of {run['peak_kib']} and {run['idle_kib']} KiB")
        expected = "libc.so.6" if name == "glibc" else app.lib.resolve().name
        if run["malloc"] != expected:
            raise Failure(f"{name}: malloc in {run['malloc']} instead of {expected}")
    before, after = (runs[0]["wall_seconds"] for runs in by_name.values())
    if abs(data["ratios"]["redis"]["wall_seconds"] - after / before) > 1e-9:
        raise Failure(f"the ratio is not that of the runs: {data['ratios']}")


def test_table(app: App) -> None:
    result = run_demo("--lib", str(app.lib), "--runs", "1", "--only", "g++")
    lines = result.stdout.splitlines()
    heads = [line for line in lines if line.startswith("program  allocator")]
    if result.returncode != 0 or len(heads) != 1 or "cc1plus" in result.stderr:
        raise Failure(f"the demo printed:\n{result.stdout}\n{result.stderr}")
    rows = lines[lines.index(heads[0]):]
    if not any("ends" in row for row in rows) or not any("/glibc" in row for row in rows):
        raise Failure(f"the demo's table lacks rows:\n{result.stdout}")


def test(app: App) -> None:
    demand_refusal(app.folder / "none.so", "run './dev build' first")
    text = app.folder / "text.so"
    text.write_text("not a library")
    demand_refusal(text, "was not in use: malloc of")
    demand_refusal(app.probe, "was not in use: malloc of")
    if run_demo("--runs", "0").returncode != 2:
        raise Failure("the demo took --runs 0")
    test_figures(app)
    test_table(app)


if __name__ == "__main__":
    main(test)
