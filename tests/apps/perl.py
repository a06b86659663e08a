"""Perl: hashes, strings, regular expressions, sort, closures and fork, in a script of ours."""

from harness import PROGRAMS, App, find, main


def test(app: App) -> None:
    perl = find("perl", "perl")
    app.environment["PERL_HASH_SEED"] = "0"
    app.run_both("perl", [perl, PROGRAMS / "graphs.pl"])


if __name__ == "__main__":
    main(test)
