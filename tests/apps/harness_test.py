"""Tests the harness of the other tests here: its proof must fail when a preload was ignored,
its comparison when outputs differ, and hiding symbols must let a preload win."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import elf_hide
from harness import App, find, main
from proof import LIBC, Allocator, Failure, mapped

# A program with an allocator of its own, exported as the shipped rustc's is: a bump allocator.
OWN_MALLOC = r"""
#include <stddef.h>
#include <stdio.h>
#include <string.h>
static _Alignas(16) char memory[1 << 24];
static size_t used;
static size_t header = 16;
void *malloc(size_t n) {
  char *p = memory + used + header;
  memcpy(p - header, &n, sizeof n);
  used += (n + 15) / 16 * 16 + header;
  return p;
}
void free(void *p) { (void)p; }
void *calloc(size_t n, size_t m) { return malloc(n * m); }
void *realloc(void *p, size_t n) {
  size_t old = 0;
  char *q = malloc(n);
  if (p) { memcpy(&old, (char *)p - header, sizeof old); memcpy(q, p, old < n ? old : n); }
  return q;
}
void *aligned_alloc(size_t a, size_t n) {
  used = (used + a - 1) / a * a + a - header;
  return malloc(n);
}
void *memalign(size_t a, size_t n) { return aligned_alloc(a, n); }
void *valloc(size_t n) { return aligned_alloc(4096, n); }
int posix_memalign(void **p, size_t a, size_t n) { *p = aligned_alloc(a, n); return 0; }
size_t malloc_usable_size(void *p) { size_t n; memcpy(&n, (char *)p - header, sizeof n); return n; }
int main(void) { puts("own"); return 0; }
"""
PLAIN = r"""
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>
int main(int argc, char** argv) {
  std::vector<std::string> words(1000, "a word that does not fit into the string itself");
  if (argc > 1 && argv[1][0] == 'a') std::abort();
  if (argc > 1 && argv[1][0] == 's') for (;;) {}
  std::printf("%zu %s\n", words.size(), argc > 1 ? std::getenv("LD_PRELOAD") : "");
  return argc > 2 ? 3 : 0;
}
"""


def demand(failure_text: str, action: Callable[[], object]) -> None:
    """The action must fail, and say this."""
    try:
        action()
    except Failure as failure:
        if failure_text not in str(failure):
            raise Failure(f"expected a failure with '{failure_text}', got: {failure}") from failure
        return
    raise Failure(f"expected a failure with '{failure_text}', and there was none")


def compile_program(app: App, name: str, text: str, *flags: str) -> Path:
    language = "c" if name.endswith("_c") else "c++"
    source = app.folder / f"{name}.{'c' if language == 'c' else 'cc'}"
    source.write_text(text)
    binary = app.folder / name
    compiler = find("gcc", "gcc") if language == "c" else find("g++", "g++")
    subprocess.run([compiler, "-w", "-O1", "-fno-builtin", str(source), "-o", str(binary), *flags],
                   check=True)
    return binary


def test_proof(app: App) -> None:
    plain = compile_program(app, "plain", PLAIN)
    for allocator in app.allocators:
        app.run([plain], allocator)
    wrong = Allocator("glibc by mistake", (), app.tested.object_name)
    demand("malloc of plain resolves to", lambda: app.run([plain], wrong))
    missing = Allocator("missing", (str(app.folder / "none.so"),), str(app.folder / "none.so"))
    demand("malloc of plain resolves to", lambda: app.run([plain], missing))
    swapped = Allocator("glibc", app.tested.preload, LIBC)
    demand("malloc of plain resolves to", lambda: app.run([plain], swapped))
    demand("loaded no preload at all", lambda: app.run([plain], app.tested, programs=["another"]))

    static = compile_program(app, "static", PLAIN, "-static")
    demand("loaded no preload at all", lambda: app.run([static], app.tested))


def test_own_operator_new(app: App) -> None:
    """A static libstdc++ is fed by the preloaded malloc; an operator new on a malloc of the
    program's own is not."""
    own_new = compile_program(app, "own_new", PLAIN, "-static-libstdc++", "-rdynamic")
    result = app.run([own_new], app.tested)
    found = {report.functions["new"] for report in result.reports}
    if found != {"self"}:
        raise Failure(f"operator new of a static libstdc++ was seen in {found}")
    if not app.run([own_new], app.tested).reports:
        raise Failure("the probe reported nothing")


def test_hiding(app: App) -> None:
    own = compile_program(app, "own_c", OWN_MALLOC, "-rdynamic")
    demand("malloc of own_c resolves to self", lambda: app.run([own], app.tested))
    before = own.stat().st_mode
    hidden = elf_hide.hide(own, elf_hide.MALLOC_FAMILY)
    if sorted(hidden) != sorted(elf_hide.MALLOC_FAMILY) or own.stat().st_mode != before:
        raise Failure(f"hidden were {hidden}")
    if elf_hide.hide(own, elf_hide.MALLOC_FAMILY):
        raise Failure("hiding twice changed the file twice")
    app.run([own], app.tested)

    text = app.folder / "text"
    text.write_text("not an executable")
    refused = subprocess.run([sys.executable, elf_hide.__file__, str(text)], capture_output=True,
                             text=True, check=False)
    if refused.returncode != 1 or "is not a 64-bit little-endian ELF file" not in refused.stderr:
        raise Failure(f"elf_hide.py on a text file: {refused.returncode}, {refused.stderr}")


def test_comparison(app: App) -> None:
    plain = app.folder / "plain"
    demand("standard output differs", lambda: app.run_both("plain", [plain, "print"]))
    demand("exit status 3", lambda: app.run([plain, "x", "y"], app.tested))
    demand("killed by SIGABRT", lambda: app.run([plain, "abort"], app.tested))
    demand("not finished after 1 s", lambda: app.run([plain, "spin"], app.tested, timeout=1))
    demand("apt-get install some-package", lambda: find("no-such-program-here", "some-package"))
    app.compare("equal text", "same", "same")


def test_server(app: App) -> None:
    plain = app.folder / "plain"

    def start(*words: str, stop: bool) -> None:
        with app.serve([plain, *words], app.tested) as server:
            if stop:
                server.wait_until(lambda: mapped(server.pid, app.tested.object_name))
                server.prove_mapped()
                server.stop()
            else:
                server.wait_until(lambda: False, seconds=5)

    demand("ended badly: killed by SIGTERM", lambda: start("spin", stop=True))
    demand("ended at once: killed by SIGABRT", lambda: start("abort", stop=False))


def test(app: App) -> None:
    test_proof(app)
    test_own_operator_new(app)
    test_hiding(app)
    test_comparison(app)
    test_server(app)


if __name__ == "__main__":
    main(test)
