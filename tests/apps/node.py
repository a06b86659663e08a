"""Node with worker threads: buffers and messages that cross threads, JSON, zlib, crypto."""

from harness import PROGRAMS, App, find, main


def test(app: App) -> None:
    node = find("node", "nodejs")
    app.run_both("node with workers", [node, PROGRAMS / "workers.cjs"])


if __name__ == "__main__":
    main(test)
