"""Lua: tables, closures, coroutines, strings and its collector, in a script of ours."""

from harness import PROGRAMS, App, find, main


def test(app: App) -> None:
    lua = find("lua5.4", "lua5.4")
    app.run_both("lua", [lua, PROGRAMS / "graphs.lua"])


if __name__ == "__main__":
    main(test)
