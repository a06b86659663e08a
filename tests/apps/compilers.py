"""What the tests of g++ and clang++ share: compile programs/heavy.cc under both allocators, compare
the object files byte for byte, link, and run the program that came out. Not a test itself."""

import hashlib

from harness import PROGRAMS, App
from proof import Failure

FLAGS = ("-std=c++20", "-O2", "-g1", "-DSIZE=2", "-Wall")


def compile_and_run(app: App, compiler: str, worker: str, linker: str) -> None:
    """`worker` is the executable that does the compiling (the compiler may be a driver only)."""
    source = PROGRAMS / "heavy.cc"
    objects, printed, seconds = [], [], []
    for allocator in app.allocators:
        # The same folder for both, emptied in between: object files may hold its name.
        folder = app.make_folder("build")
        compiled = app.run([compiler, *FLAGS, "-c", source, "-o", "heavy.o"], allocator, cwd=folder,
                           programs=[worker])
        objects.append((folder / "heavy.o").read_bytes())
        printed.append(compiled.stdout + compiled.stderr)
        app.run([compiler, "-pthread", "heavy.o", "-o", "heavy"], allocator, cwd=folder,
                programs=[linker])
        run = app.run([folder / "heavy"], allocator, cwd=folder)
        printed.append(run.stdout)
        seconds.append(compiled.seconds)
        folder.rename(app.folder / f"build-{allocator.name}")
    if len(objects[0]) < 200_000 or not printed[1].startswith(b"heavy: "):
        raise Failure(f"{compiler} made an object file of {len(objects[0])} bytes, and the program "
                      f"printed {printed[1]!r}")
    app.compare("what the compiler printed", printed[0], printed[2])
    app.compare("what the compiled program printed", printed[1], printed[3])
    app.compare("the object file's digest", *(hashlib.sha256(o).hexdigest() for o in objects))
    app.note(f"{compiler} -c heavy.cc, {len(objects[0]) >> 10} KiB", *seconds)
