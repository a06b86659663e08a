#!/usr/bin/env python3
"""docs_symbols: checks that what the documentation names is there.

Every carrel_xxx in README.md, docs/ and other Markdown files is declared in carrel.h (or listed in
docs_words.txt), every `./dev command` is a command of ./dev, and every path in backquotes exists,
apart from those with a placeholder in capitals (src/os/NAME/). It doesn't check that what is said
about them is true.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import repo

SYMBOL = re.compile(r"\bcarrel_[a-z0-9_]*[a-z0-9]\b")
COMMAND = re.compile(r"\./dev +([a-z][a-z-]*)")
PLACEHOLDER = re.compile(r"(^|/)[A-Z_]+(/|$)")
PATH = re.compile(r"`((?:src|include|tests|bench|docs|cmake|tools|setup)/[\w./-]+)`")


def declared() -> set[str]:
    """The names of carrel.h outside its comments."""
    header = (repo.ROOT / "include/carrel/carrel.h").read_text(encoding="utf-8")
    header = re.sub(r"/\*.*?\*/", " ", header, flags=re.DOTALL)
    header = re.sub(r"//[^\n]*", " ", header)
    return set(SYMBOL.findall(header))


def commands() -> set[str]:
    """The commands that ./dev's own dispatcher knows."""
    script = (repo.ROOT / "dev").read_text(encoding="utf-8")
    return set(re.findall(r"^    ([a-z][a-z-]*)(?:\)| \|)", script, flags=re.MULTILINE))


def exists(name: str) -> bool:
    path = repo.ROOT / name
    return path.exists() or any(path.parent.glob(path.name + ".*"))


def check(path: Path, symbols: set[str], known: set[str], problems: list[str]) -> int:
    names = 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        where = f"{repo.relative(path)}:{number}"
        for name in SYMBOL.findall(line):
            names += 1
            if name not in symbols:
                problems.append(f"{where}: carrel.h declares no {name}")
        for name in COMMAND.findall(line):
            names += 1
            if name not in known:
                problems.append(f"{where}: ./dev has no command '{name}'")
        for name in PATH.findall(line):
            names += 1
            if name not in symbols and not PLACEHOLDER.search(name) and not exists(name):
                problems.append(f"{where}: there is no {name}")
    return names


def check_man_page(problems: list[str]) -> None:
    """Every function that carrel.h declares stands in the synopsis of carrel(3)."""
    header = (repo.ROOT / "include/carrel/carrel.h").read_text(encoding="utf-8")
    functions = set(re.findall(r"^CARREL_API [^;(]*?\b(carrel_\w+)\(", header, re.MULTILINE))
    page = (repo.ROOT / "docs/man/carrel.3").read_text(encoding="utf-8")
    synopsis = page.split(".SH DESCRIPTION")[0]
    if len(functions) < 10:
        problems.append("include/carrel/carrel.h: its functions could not be read")
    problems += [f"docs/man/carrel.3: its synopsis lacks {name}"
                 for name in sorted(functions) if f"{name}(" not in synopsis]


def main() -> int:
    symbols = declared() | {line for _, line in repo.data_lines("docs_words.txt")}
    known = commands()
    if not declared() or not known:
        repo.die("docs", "cannot read carrel.h or ./dev")
    problems: list[str] = []
    names = 0
    documents = [path for path in repo.files() if path.suffix == ".md" or path.parent.name == "man"]
    for path in documents:
        names += check(path, symbols, known, problems)
    check_man_page(problems)
    return repo.finish("docs", problems, f"{names} names in {len(documents)} documents")


if __name__ == "__main__":
    sys.exit(main())
