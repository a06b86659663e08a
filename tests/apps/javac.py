"""A JVM: javac compiling generated and written sources, and the program run with a small heap, many
threads, compressors and class loading; class files and output as under glibc."""

import hashlib
from pathlib import Path

from harness import PROGRAMS, App, find, main
from proof import Allocator, Failure

CLASSES = 30


def generate(number: int) -> str:
    """A class with generics, lambdas, switches and inner classes, for javac to work on."""
    methods = "\n".join(f"""
    static <T extends Comparable<T>> Map<String, List<T>> group{m}(Collection<T> items) {{
        return items.stream().filter(item -> item.hashCode() % {m + 2} != 0).sorted()
            .collect(Collectors.groupingBy(item -> "g" + item.hashCode() % {m + 3},
                                           TreeMap::new, Collectors.toList()));
    }}

    static String name{m}(Object value) {{
        return switch (value instanceof Integer i ? i % 5 : 4) {{
            case 0 -> "none{m}";
            case 1 -> new Inner{m}(value).toString();
            case 2, 3 -> String.format("%s-%d", value, {m});
            default -> value.toString().repeat({m % 3 + 1});
        }};
    }}

    record Inner{m}(Object value) {{
        @Override public String toString() {{ return "[" + value + "/{number}.{m}]"; }}
    }}
""" for m in range(8))
    calls = " + ".join(f"name{m}({number} + {m}).length() + group{m}(List.of(5, 9, {m})).size()"
                       for m in range(8))
    return f"""package generated;

import java.util.*;
import java.util.stream.*;

public final class Unit{number} implements Weighed {{{methods}
    @Override public int weight() {{ return {calls}; }}
}}
"""


def write_sources(folder: Path) -> list[Path]:
    package = folder / "generated"
    package.mkdir()
    (package / "Weighed.java").write_text(
        "package generated;\n\npublic interface Weighed {\n    int weight();\n}\n")
    for number in range(CLASSES):
        (package / f"Unit{number}.java").write_text(generate(number))
    return [*sorted(package.iterdir()), PROGRAMS / "Main.java"]


def build_and_run(app: App, javac: str, java: str, sources: list[Path], allocator: Allocator
                  ) -> tuple[str, str, float]:
    classes = app.make_folder(f"classes-{allocator.name}")
    compiled = app.run([javac, "-J-Xmx400m", "-Xlint:all", "-d", classes, *sources], allocator,
                       programs=["javac"])
    files = sorted(classes.rglob("*.class"))
    if len(files) < 9 * CLASSES:
        raise Failure(f"{allocator.name}: javac made only {len(files)} class files")
    listing = [compiled.text, compiled.stderr.decode()]
    listing += [f"{path.relative_to(classes)} {hashlib.sha256(path.read_bytes()).hexdigest()}"
                for path in files]
    # The JVM's own log goes to standard output, and what it says of its collector varies.
    run = app.run([java, "-Xlog:disable", "-Xmx400m", "-cp", classes, "Main", str(CLASSES)],
                  allocator, cwd=app.folder)
    if run.text.count("\n") < 5:
        raise Failure(f"{allocator.name}: the program printed {run.text!r}")
    return "\n".join(listing), run.text, compiled.seconds + run.seconds


def test(app: App) -> None:
    home = "/usr/lib/jvm/java-*-openjdk-*/bin/"
    javac = find(home + "javac", "openjdk-17-jdk-headless")
    java = find(home + "java", "openjdk-17-jdk-headless")
    sources = write_sources(app.folder)
    expected, got = [build_and_run(app, javac, java, sources, a) for a in app.allocators]
    app.compare("what javac made", expected[0], got[0])
    app.compare("what the program printed", expected[1], got[1])
    app.note("javac and java", expected[2], got[2])


if __name__ == "__main__":
    main(test)
