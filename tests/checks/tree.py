#!/usr/bin/env python3
"""tree: rules that every text file of the project keeps, whatever its language.

Length (400 lines is long, 600 too long; under tests/ 600 and 800), width (100 columns), an opening
comment, no tabs or trailing blanks, no notes to self, and no assert() that the build type removes.
It doesn't judge layout within a line: clang-format does.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import repo

CODE = {".c", ".cc", ".cpp", ".h", ".hpp", ".py", ".sh", ".rs", ".cmake", ".js"}
WIDTH = 100
# Written in halves, so that this file keeps its own rule.
NOTES_TO_SELF = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
COMMENT_STARTS = ("//", "/*", "#", '"""', "'''", "--", "<!--")
ASSERT = re.compile(r"^\s*#\s*include\s*<(assert\.h|cassert)>", re.MULTILINE)


def is_code(path: Path) -> bool:
    if path.suffix in CODE or path.name == "CMakeLists.txt":
        return True
    return path.suffix == "" and path.read_bytes()[:2] == b"#!"


def limits(path: Path) -> tuple[int, int]:
    """From how many lines a file is long, and beyond how many too long."""
    return (600, 800) if repo.relative(path).startswith("tests/") else (400, 600)


def opens_with_comment(lines: list[str]) -> bool:
    for line in lines:
        if line.startswith("#!") or not line.strip():
            continue
        return line.lstrip().startswith(COMMENT_STARTS)
    return True


def check_code(path: Path, lines: list[str], problems: list[str], warnings: list[str]) -> None:
    name = repo.relative(path)
    long, too_long = limits(path)
    if len(lines) > too_long:
        problems.append(f"{name}: {len(lines)} lines, {too_long} is the limit; split it")
    elif len(lines) > long:
        warnings.append(f"{name}: {len(lines)} lines; {long} is long")
    if not opens_with_comment(lines):
        problems.append(f"{name}:1: no opening comment that says what the file is for")
    for number, line in enumerate(lines, 1):
        if len(line) > WIDTH:
            problems.append(f"{name}:{number}: {len(line)} columns, {WIDTH} is the limit")
        if "\t" in line:
            problems.append(f"{name}:{number}: a tab")
        if line != line.rstrip():
            problems.append(f"{name}:{number}: blanks at the end")
    if path.suffix in {".c", ".cc", ".cpp"} and name.startswith("tests/"):
        text = "\n".join(lines)
        if ASSERT.search(text) and "#undef NDEBUG" not in text:
            problems.append(f"{name}: assert() does nothing in the release build; "
                            "#undef NDEBUG first, or use a check that stays")


def main() -> int:
    problems: list[str] = []
    warnings: list[str] = []
    count = 0
    for path in repo.files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        count += 1
        lines = text.splitlines()
        for number, line in enumerate(lines, 1):
            match = NOTES_TO_SELF.search(line)
            if match:
                problems.append(f"{repo.relative(path)}:{number}: '{match.group()}': "
                                "do it, or write down the limit it leaves")
        if is_code(path):
            check_code(path, lines, problems, warnings)
    for warning in warnings:
        print(f"warning: {warning}")
    return repo.finish("tree", problems, f"{count} files")


if __name__ == "__main__":
    sys.exit(main())
