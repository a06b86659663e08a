"""The workloads: which program, with which arguments, and what its numbers are used for.

The programs are bench/workloads/*.cpp. This is a table; running is runner.py's affair.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """One row of the result.

    kind: "timed" counts in the geometric means of time and memory; "idle" is timed too and sampled
    while it does nothing; "latency" reports quantiles; "trivial" is about resident memory alone;
    "floor" asks the kernel directly, runs once a round, and is shown beside its timed sibling.
    """

    name: str
    program: str
    arguments: tuple[str, ...]
    title: str
    kind: str = "timed"
    floor_of: str = ""

    @property
    def timed(self) -> bool:
        return self.kind in ("timed", "idle")


def _w(name: str, program: str, arguments: str, title: str, kind: str = "timed",
       floor_of: str = "") -> Workload:
    return Workload(name, program, tuple(arguments.split()), title, kind, floor_of)


WORKLOADS = (
    _w("hot-pair", "pairs", "--mode hot", "one block, allocated and freed at once"),
    _w("fifo", "pairs", "--mode fifo", "a queue of 10,000 blocks, oldest freed first"),
    _w("replace-4k", "random_replace", "--blocks 4000", "random replace, 4,000 live blocks"),
    _w("replace-200k", "random_replace", "--blocks 200000", "random replace, 200,000 live blocks"),
    _w("glibc-simple", "glibc_bench", "--mode simple", "rounds of equal blocks, six sizes"),
    _w("glibc-thread", "glibc_bench", "--mode thread", "small working set on 4 threads"),
    _w("sh6", "shbench", "--mode six", "mixed sizes, orders and lifetimes"),
    _w("sh8", "shbench", "--mode eight", "the same on 8 threads that free each other's"),
    _w("binary-trees", "binary_trees", "", "trees built and torn down, 2 threads"),
    _w("string-map", "string_map", "", "hash maps from strings to strings"),
    _w("phases", "phases", "", "phases of other sizes with stragglers"),
    _w("threadtest", "threadtest", "", "4 threads that share nothing"),
    _w("false-active", "false_sharing", "--mode active", "small blocks of 4 threads, written hard"),
    _w("false-passive", "false_sharing", "--mode passive", "the same after a gift of one line"),
    _w("larson", "larson", "--threads 4", "server tables handed down, 4 threads"),
    _w("larson-64", "larson", "--threads 64", "server tables handed down, 64 threads"),
    _w("handoff-1to1", "handoff", "--mode 1to1", "one producer, one consumer"),
    _w("handoff-in", "handoff", "--mode fan-in", "four producers, one consumer"),
    _w("handoff-out", "handoff", "--mode fan-out", "one producer, four consumers"),
    _w("free-only", "free_only", "", "one thread allocates, another only frees"),
    _w("xmalloc", "xmalloc", "", "4 allocating and 4 freeing threads"),
    _w("mstress", "random_mix", "--mode mstress", "unequal threads, migrating objects"),
    _w("rptest", "random_mix", "--mode rptest", "8 threads, to 16 KiB, some handed over"),
    _w("thread-churn", "thread_churn", "", "thousands of short-lived threads"),
    _w("threads-256", "many_threads", "--threads 256", "256 threads replace in a shared table"),
    _w("medium-slots", "medium_blocks", "--mode slots", "8 to 32 KiB replaced, 4 threads"),
    _w("medium-spans", "medium_blocks", "--mode spans", "32 to 256 KiB replaced, 4 threads"),
    _w("large-blocks", "large_blocks", "", "64 KiB to 8 MiB, every page written"),
    _w("realloc-grow", "growth", "--mode realloc", "one buffer grown to 256 MB"),
    _w("vectors", "growth", "--mode vectors", "twelve vectors growing in turn"),
    _w("calloc-small", "zeroed", "--mode small", "calloc of up to 2 KiB, recycled"),
    _w("calloc-large", "zeroed", "--mode large", "calloc of 256 MB, a quarter used"),
    _w("burst-idle", "burst_idle", "--mode burst", "500 MB of small blocks freed, then idle",
       "idle"),
    _w("stragglers", "burst_idle", "--mode stragglers", "2% of 4 million blocks kept, then idle",
       "idle"),
    _w("latency", "latency", "", "every single call timed, 2 threads", "latency"),
    _w("trivial", "trivial", "", "a process that allocates once", "trivial"),
    _w("realloc-kernel", "growth", "--mode kernel", "realloc-grow on mremap directly", "floor",
       "realloc-grow"),
    _w("calloc-kernel", "zeroed", "--mode kernel", "calloc-large on mmap directly", "floor",
       "calloc-large"),
)


def select(words: list[str]) -> list[Workload]:
    """The workloads that `--workloads` names; ValueError for an unknown name."""
    known = {workload.name for workload in WORKLOADS}
    unknown = [word for word in words if word not in known]
    if unknown:
        raise ValueError(f"no workload '{unknown[0]}'; known: {', '.join(sorted(known))}")
    if not words:
        return list(WORKLOADS)
    return [w for w in WORKLOADS if w.name in words or (w.floor_of and w.floor_of in words)]


if __name__ == "__main__":
    # For bench/CMakeLists.txt, which makes a smoke test of each.
    print("\n".join(workload.name for workload in WORKLOADS))
