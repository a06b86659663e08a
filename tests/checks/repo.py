"""repo: where the project's files are, for the checks beside it. It judges nothing itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHECKS = ROOT / "tests" / "checks"

SKIPPED_FOLDERS = {".git", "build", "target", "__pycache__", "node_modules", ".cache", "results"}


def files() -> list[Path]:
    """Every file of the project, tracked or about to be; without git, every file but made ones."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True, check=False)
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        paths = [path for path in ROOT.rglob("*")
                 if not SKIPPED_FOLDERS & set(path.relative_to(ROOT).parts)]
    return sorted(path for path in set(paths) if path.is_file() and not path.is_symlink())


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def data_lines(name: str) -> list[tuple[int, str]]:
    """The lines of a data file of this folder with their numbers, comments and blanks removed."""
    result = []
    text = (CHECKS / name).read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#", 1)[0].strip()
        if line:
            result.append((number, line))
    return result


def finish(name: str, problems: list[str], checked: str) -> int:
    """Prints the problems, one a line, then the verdict; returns the exit status."""
    for problem in problems:
        print(problem)
    if problems:
        print(f"{name}: {len(problems)} problem{'s' if len(problems) != 1 else ''}")
        return 1
    print(f"{name}: {checked}, nothing wrong")
    return 0


def die(name: str, message: str) -> None:
    print(f"{name}: {message}", file=sys.stderr)
    sys.exit(2)
