"""SQLite: a database generated from a script, queried, changed and vacuumed; the files that the two
allocators leave are equal byte for byte, and so is what the shell prints."""

from harness import PROGRAMS, App, find, main
from proof import Failure


def test(app: App) -> None:
    sqlite = find("sqlite3", "sqlite3")
    script = (PROGRAMS / "database.sql").read_bytes()
    results, files = [], []
    for allocator in app.allocators:
        folder = app.make_folder(f"sqlite-{allocator.name}")
        results.append(app.run([sqlite, "-batch", "-bail", folder / "generated.db"], allocator,
                               stdin=script, cwd=folder))
        files.append((folder / "generated.db").read_bytes())
    if len(files[0]) < 5_000_000 or b"integrity|ok" not in results[0].stdout:
        raise Failure(f"the generated database is not what it should be ({len(files[0])} bytes):\n"
                      f"{results[0].text}")
    app.compare("sqlite3: standard output", results[0].stdout, results[1].stdout)
    app.compare("sqlite3: standard error", results[0].stderr, results[1].stderr)
    if files[0] != files[1]:
        raise Failure("sqlite3: the database files differ")
    app.note(f"sqlite3, a database of {len(files[0]) >> 20} MiB", *(r.seconds for r in results))


if __name__ == "__main__":
    main(test)
