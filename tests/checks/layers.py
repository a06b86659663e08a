#!/usr/bin/env python3
"""layers: checks that each folder of src/ includes only what layers.txt allows it, and tools/ none.

It also finds headers that include each other in a circle, quoted includes that lead nowhere, and
system headers out of place. It reads #include lines only; it doesn't preprocess, so that a line
under a false #if counts too.
"""

from __future__ import annotations

import fnmatch
import re
import sys
from pathlib import Path

import repo

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]')
SOURCES = {".h", ".hpp", ".cc", ".c"}


class Rules:
    """layers.txt as data."""

    def __init__(self) -> None:
        self.allowed: dict[str, set[str]] = {}
        self.system: list[tuple[list[str], set[str]]] = []
        self.forbidden: list[str] = []
        self.exempt: set[str] = set()
        for number, line in repo.data_lines("layers.txt"):
            if line.startswith("forbid "):
                self.forbidden += headers_in(line, number)
            elif line.startswith("exempt "):
                self.exempt |= set(line.split()[1:])
            elif line.startswith("system "):
                headers, _, folders = line.rpartition(":")
                self.system.append((headers_in(headers, number), set(folders.split())))
            elif ":" in line:
                folder, _, others = line.partition(":")
                self.allowed[folder.strip()] = set(others.split()) | {folder.strip()}
            else:
                repo.die("layers", f"layers.txt:{number}: cannot read '{line}'")
        for folder, others in self.allowed.items():
            for other in others - set(self.allowed):
                repo.die("layers", f"layers.txt: {folder} may include {other}, which has no line")

    def layer_of(self, path: Path) -> str | None:
        """The most deeply nested folder with a line of its own that holds a file of src/."""
        folder = path.relative_to(repo.ROOT / "src").parent
        while folder != Path("."):
            if folder.as_posix() in self.allowed:
                return folder.as_posix()
            folder = folder.parent
        return None


def headers_in(line: str, number: int) -> list[str]:
    found = re.findall(r"<([^>]+)>", line)
    if not found:
        repo.die("layers", f"layers.txt:{number}: no <header> in '{line}'")
    return found


def resolve(name: str, source: Path) -> Path | None:
    """The file that a quoted include means: from its own folder, from src/ or from include/."""
    for base in (source.parent, repo.ROOT / "src", repo.ROOT / "include"):
        candidate = (base / name).resolve()
        if candidate.is_file():
            return candidate
    return None


def check_include(rules: Rules, source: Path, layer: str, quote: str, name: str) -> str | None:
    """What is wrong with one include, or None."""
    if quote == "<":
        if layer in rules.exempt:
            return None
        if any(fnmatch.fnmatch(name, pattern) for pattern in rules.forbidden):
            return f"<{name}> has no place in the core (forbid, layers.txt)"
        for patterns, folders in rules.system:
            if layer not in folders and any(fnmatch.fnmatch(name, p) for p in patterns):
                return f"<{name}> may be included only in {', '.join(sorted(folders))}"
        return None
    target = resolve(name, source)
    if target is None:
        return f'"{name}" is no file under src/ or include/'
    if not target.is_relative_to(repo.ROOT / "src"):
        return None
    other = rules.layer_of(target)
    if other is None or other in rules.allowed[layer]:
        return None
    return f'"{name}" is of layer {other}, which {layer} may not include'


def check_tool_include(source: Path, quote: str, name: str) -> str | None:
    """The tools know carrel by its public headers only: none of src/."""
    if quote == "<":
        return None
    root = repo.ROOT / "tools/carrel"
    for base in (source.parent, root, repo.ROOT / "include"):
        if (base / name).resolve().is_file():
            return None
    return f'"{name}" is no file under tools/carrel/ or include/'


def find_circle(graph: dict[Path, list[Path]]) -> list[Path] | None:
    """One circle among the files, if there is any."""
    done: set[Path] = set()

    def visit(node: Path, trail: list[Path]) -> list[Path] | None:
        if node in trail:
            return trail[trail.index(node):] + [node]
        if node in done:
            return None
        for following in graph.get(node, []):
            circle = visit(following, trail + [node])
            if circle:
                return circle
        done.add(node)
        return None

    for start in graph:
        circle = visit(start, [])
        if circle:
            return circle
    return None


def main() -> int:
    rules = Rules()
    problems: list[str] = []
    graph: dict[Path, list[Path]] = {}
    sources = [path for path in repo.files()
               if path.suffix in SOURCES and path.is_relative_to(repo.ROOT / "src")]
    if not sources:
        repo.die("layers", "no sources under src/; is this a complete checkout?")
    for source in sources:
        layer = rules.layer_of(source)
        if layer is None:
            problems.append(f"{repo.relative(source)}:1: its folder has no line in layers.txt")
            continue
        graph[source] = []
        text = source.read_text(encoding="utf-8")
        for number, line in enumerate(text.splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            quote, name = match.groups()
            problem = check_include(rules, source, layer, quote, name)
            if problem:
                problems.append(f"{repo.relative(source)}:{number}: {problem}")
            target = resolve(name, source) if quote == '"' else None
            if target is not None:
                graph[source].append(target)
    tools = [path for path in repo.files()
             if path.suffix in SOURCES and path.is_relative_to(repo.ROOT / "tools")]
    for source in tools:
        for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), 1):
            match = INCLUDE.match(line)
            problem = check_tool_include(source, *match.groups()) if match else None
            if problem:
                problems.append(f"{repo.relative(source)}:{number}: {problem}")
    circle = find_circle(graph)
    if circle:
        problems.append("headers in a circle: " + " -> ".join(map(repo.relative, circle)))
    return repo.finish("layers", problems, f"{len(sources) + len(tools)} files")


if __name__ == "__main__":
    sys.exit(main())
