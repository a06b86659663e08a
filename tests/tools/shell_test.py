"""carrel completions and carrel manual: the scripts complete in the shells themselves, as far as
those are installed, and the manual page names every command and option of --help and formats
cleanly.

    python3 shell_test.py --carrel build/release/bin/carrel
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

carrel: str

# What the words given so far, the last of them unfinished, may go on with: all of the second, and
# none of the third.
CASES = (
    (["re"], ["record", "replay", "report"], ["advise"]),
    (["advise", "--goal", ""], ["cpu", "rss", "tail"], ["--goal"]),
    (["advise", "--mi"], ["--min-gain"], ["--goal"]),
    (["trace", ""], ["info", "trim", "anonymize"], ["record"]),
    (["trace", "info", "--"], ["--json", "--events"], ["--from"]),
    (["replay", "t.crl", "--touch", ""], ["none", "page", "full"], ["max"]),
    (["run", "--alloc", "je"], ["jemalloc"], ["glibc"]),
    (["completions", ""], ["bash", "zsh", "fish"], []),
)


def output(*words: str, **options: object) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, **options).stdout


class Shells(unittest.TestCase):
    def check(self, complete) -> None:
        for words, wanted, unwanted in CASES:
            found = complete(words)
            for word in wanted:
                self.assertIn(word, found, words)
            for word in unwanted:
                self.assertNotIn(word, found, words)

    def script(self, shell: str) -> Path:
        folder = tempfile.TemporaryDirectory(prefix="carrel-shell-")
        self.addCleanup(folder.cleanup)
        path = Path(folder.name) / f"carrel.{shell}"
        output(carrel, "completions", shell, "-o", str(path))
        self.assertEqual(path.read_text(), output(carrel, "completions", shell))
        return path

    def test_bash_completes(self) -> None:
        script = self.script("bash")
        ask = ('compopt() { :; }; source "$0"; COMP_WORDS=(carrel "$@"); '
               'COMP_CWORD=$(($# )); _carrel; printf "%s\\n" "${COMPREPLY[@]}"')
        self.check(lambda words: output("bash", "--norc", "-euc", ask, str(script),
                                        *words).split())
        # Behind -- stands any command.
        self.assertIn("true", output("bash", "--norc", "-euc", ask, str(script), "record", "--",
                                     "tru").split())
        shellcheck = shutil.which("shellcheck")
        if shellcheck:
            output(shellcheck, "-s", "bash", str(script))

    @unittest.skipUnless(shutil.which("zsh"), "zsh is not installed")
    def test_zsh_completes(self) -> None:
        script = self.script("zsh")
        ask = ('compdef() { }; compadd() { shift; print -l -- ${(M)@:#${words[CURRENT]}*} }; '
               '_files() { }; script=$1; shift; words=(carrel "$@"); CURRENT=$#words; '
               'source $script; _carrel')
        self.check(lambda words: output("zsh", "-fc", ask, "zsh", str(script), *words).split())

    @unittest.skipUnless(shutil.which("fish"), "fish is not installed")
    def test_fish_completes(self) -> None:
        script = self.script("fish")
        for words, wanted, unwanted in CASES:
            lines = output("fish", "-N", "-c", f"source {script}; complete -C 'carrel "
                           + " ".join(words) + "'").splitlines()
            found = [line.split("\t")[0] for line in lines]
            for word in wanted:
                self.assertIn(word, found, words)
            for word in unwanted:
                self.assertNotIn(word, found, words)


class Manual(unittest.TestCase):
    def commands(self, *path: str) -> list[tuple[str, ...]]:
        text = output(carrel, *path, "--help")
        section = re.split(r"^Subcommands:$", text, flags=re.MULTILINE)
        below = re.findall(r"^  (\w+)  ", section[1], re.MULTILINE) if len(section) > 1 else []
        found = [path] if path else []
        for name in below:
            found += self.commands(*path, name)
        return found

    def test_the_manual_names_what_help_names(self) -> None:
        page = output(carrel, "manual").replace("\\-", "-")
        commands = self.commands()
        self.assertGreater(len(commands), 12)
        for path in commands:
            part = page.split(f".SS carrel {' '.join(path)}\n")
            self.assertEqual(len(part), 2, path)
            part = part[1].split(".SS ")[0]
            for option in re.findall(r"^  (?:-\w,)?(--[\w-]+)", output(carrel, *path, "--help"),
                                     re.MULTILINE):
                self.assertIn(option, part, path)

    @unittest.skipUnless(shutil.which("groff"), "groff is not installed")
    def test_the_manual_formats_without_a_warning(self) -> None:
        done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z"], check=True, text=True,
                              input=output(carrel, "manual"), capture_output=True)
        self.assertEqual(done.stderr, "")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--carrel", required=True)
    arguments, rest = parser.parse_known_args()
    carrel = arguments.carrel
    unittest.main(argv=[sys.argv[0], *rest])
