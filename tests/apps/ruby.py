"""Ruby: strings, hashes, threads, fork, compaction and the collector, in a script of ours."""

from harness import PROGRAMS, App, find, main


def test(app: App) -> None:
    ruby = find("ruby", "ruby")
    app.run_both("ruby", [ruby, PROGRAMS / "graphs.rb"])


if __name__ == "__main__":
    main(test)
