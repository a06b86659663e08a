"""stress-ng's malloc stressor with verification: its own threads allocate, resize, touch and free
random sizes, and check what they wrote. Bounded by operations, not by time."""

import re

from harness import App, find, main
from proof import Failure

# Operations, and the stressor's options: two processes, pages that are touched, threads.
RUNS = {
    "small": (1_000_000, ["--malloc", "2", "--malloc-bytes", "16k", "--malloc-max", "20000"]),
    "large": (8_000, ["--malloc", "1", "--malloc-bytes", "2m", "--malloc-max", "200",
                      "--malloc-touch"]),
    "threads": (400_000, ["--malloc", "1", "--malloc-bytes", "8k", "--malloc-max", "8192",
                         "--malloc-pthreads", "4", "--malloc-zerofree"]),
}


def summary(text: str, what: str, least: int) -> str:
    """What must agree: the stressor and its outcome. Times, process ids and speeds do not."""
    if re.search(r"stress-ng: fail:", text):
        raise Failure(f"stress-ng {what} reported a failure:\n{text}")
    ended = re.findall(r"successful run completed|unsuccessful run completed", text)
    operations = [int(n) for n in re.findall(r"\] malloc +(\d+) ", text)]
    if ended != ["successful run completed"] or len(operations) != 1:
        raise Failure(f"stress-ng {what} did not say what it did:\n{text}")
    if operations[0] < least:
        raise Failure(f"stress-ng {what} ended after {operations[0]} of {least} operations")
    return str(ended[0])


def test(app: App) -> None:
    program = find("stress-ng", "stress-ng")
    for name, (operations, options) in RUNS.items():
        # The bound counts only when it comes after the stressor that it bounds.
        argv = [program, "--verify", "--metrics-brief", "--seed", "42", "--timeout", "120s",
                *options, "--malloc-ops", str(operations)]
        results = [app.run(argv, allocator, timeout=200) for allocator in app.allocators]
        outcomes = [summary(r.text + r.stderr.decode(), name, operations) for r in results]
        app.compare(f"stress-ng {name}", *outcomes)
        app.note(f"malloc stressor, {name}", *(r.seconds for r in results))


if __name__ == "__main__":
    main(test)
