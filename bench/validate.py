"""./dev validate: what carrel advise predicts by replay, beside what real runs of programs show.

Each program is recorded once, its trace replayed on several allocators, and the program itself run
on each of them in turn (carrel advise --all does all of it). Printed are CPU time and peak resident
memory over the program's own allocator, as predicted and as measured, misses included, and how
often both agree about which of two allocators is better. It is as noisy as the machine, and says
how noisy that was.

Needs a built carrel; programs that are not installed are named and left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from harness import apps, inputs

ROOT = Path(__file__).resolve().parent.parent
FILES = Path(__file__).resolve().parent / "apps"
POSTGRES = Path("/usr/lib/postgresql/15/bin")
VERDICTS = {0: "keep", 10: "switch", 20: "inconclusive"}
# PostgreSQL refuses root. carrel itself then runs as this user too: what changes its user half-way
# is not measured from there on.
AS_NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


@dataclass
class Command:
    """What to measure; `prefix` starts carrel, and so the program, as another user."""

    words: list[str]
    prefix: list[str] = field(default_factory=list)


@dataclass
class Program:
    """`make` writes inputs into an empty folder and gives the command, which runs for a second or
    two at scale 1."""

    name: str
    what: str
    needs: list[str]
    package: str
    make: Callable[[Path, float], Command]


def script(folder: Path, text: str) -> list[str]:
    path = folder / "run.sh"
    path.write_text("set -eu\n" + text, encoding="ascii")
    return ["/bin/sh", str(path)]


def run_whole(command: list[str], timeout: float | None = None,
              environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs to the end; on a time-out, or when we are interrupted, everything it started ends."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=environment, start_new_session=True) as process:
        try:
            out, errors = process.communicate(timeout=timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, errors)


def make_python(folder: Path, scale: float) -> Command:
    del folder
    rounds = str(max(1, round(8 * scale)))
    return Command(["/usr/bin/env", "PYTHONMALLOC=malloc", "PYTHONHASHSEED=0", "/usr/bin/python3",
                    str(FILES / "graph.py"), rounds])


def make_lua(folder: Path, scale: float) -> Command:
    del folder
    return Command(["lua5.4", str(FILES / "work.lua"), str(max(1, round(16 * scale)))])


def make_z3(folder: Path, scale: float) -> Command:
    path = folder / "problem.smt2"
    path.write_text(inputs.smt_problem(9 if scale >= 1 else 7), encoding="ascii")
    return Command(["z3", str(path)])


def make_sqlite(folder: Path, scale: float) -> Command:
    path = folder / "script.sql"
    path.write_text(inputs.sql_script(int(40_000 * scale)), encoding="ascii")
    return Command(["sqlite3", ":memory:", f".read {path}"])


def make_gxx(folder: Path, scale: float) -> Command:
    del scale
    return Command(["g++", "-std=c++20", "-O1", "-c", str(FILES / "heavy.cpp"), "-o",
                    str(folder / "heavy.o")])


def make_rustc(folder: Path, scale: float) -> Command:
    # A copy whose own malloc is hidden: the compiler as shipped cannot be given another.
    try:
        command, _, _, _ = apps.make_rustc(folder, scale)
    except apps.AppError as error:
        raise RuntimeError(str(error)) from error
    return Command(command)


def make_node(folder: Path, scale: float) -> Command:
    path = folder / "work.js"
    path.write_text(f"const rounds = {int(3000 * scale)};" + """
const zlib = require("zlib");
let kept = [];
for (let i = 0; i < rounds; ++i) {
  const text = JSON.stringify({ number: i, parts: Array.from({ length: 200 }, (_, k) => k * i) });
  kept.push(zlib.deflateSync(Buffer.from(text)));
  if (kept.length > 500) {
    kept = kept.slice(250).map((one) => zlib.deflateSync(Buffer.from(zlib.inflateSync(one))));
  }
}
console.log(kept.length);
""", encoding="ascii")
    return Command(["node", str(path)])


def make_perl(folder: Path, scale: float) -> Command:
    path = folder / "work.pl"
    path.write_text(f"my $rounds = {int(250_000 * scale)};" + """
my (%seen, @all);
for my $i (1 .. $rounds) {
  my $word = join("-", map { chr(97 + ($i * $_) % 26) x ($_ + $i % 7) } 1 .. 4);
  push @{$seen{substr($word, 0, 6)}}, { word => $word, at => $i };
  push @all, $word if $i % 3 == 0;
}
print scalar(keys %seen), " ", length(join(",", sort @all)), "\\n";
""", encoding="ascii")
    return Command(["perl", str(path)])


def make_redis(folder: Path, scale: float) -> Command:
    socket = folder / "socket"
    return Command(script(folder, f"""
redis-server --port 0 --unixsocket {socket} --save '' --appendonly no --dir {folder} &
server=$!
while ! redis-cli -s {socket} ping >/dev/null 2>&1; do
  kill -0 $server || {{ echo 'redis-server ended before it answered' >&2; exit 1; }}
  sleep 0.02
done
redis-benchmark -s {socket} -q -n {int(20_000 * scale)} -P 16 -r 50000 -d 180 \\
  -t set,get,lpush,lpop,sadd,hset
redis-cli -s {socket} shutdown nosave || true
wait
"""))


def make_postgres(folder: Path, scale: float) -> Command:
    data = folder / "data"
    prefix = []
    if os.geteuid() == 0:
        prefix = AS_NOBODY
        shutil.chown(folder, "nobody", "nogroup")
        folder.parent.chmod(0o755)
    done = run_whole([*prefix, str(POSTGRES / "initdb"), "-D", str(data), "-U", "postgres",
                      "-A", "trust", "--no-sync"])
    if done.returncode != 0:
        raise RuntimeError(f"initdb: {last_line(done)}")
    sql = folder / "load.sql"
    # One line a statement: that is what single-user mode reads.
    sql.write_text(
        "drop table if exists t\n"
        "create table t as select i, md5(i::text) as a, repeat(md5((i % 997)::text), 4) as b "
        "from generate_series(1, "
        f"{int(60_000 * scale)}) i\n"
        "create index on t (a)\n"
        "select count(*), sum(length(x)) from (select string_agg(a, ',' order by b) as x "
        "from t group by i % 500) q\n"
        "select count(*) from t join t u on t.a = u.a where t.b like '%7%'\n"
        "select jsonb_agg(to_jsonb(t))::text is null from t where i < 20000\n", encoding="ascii")
    return Command(script(folder, f"{POSTGRES / 'postgres'} --single -D {data} postgres < {sql}\n"),
                   prefix)


PROGRAMS = [
    Program("redis", "redis-server under redis-benchmark", ["redis-server", "redis-benchmark",
            "redis-cli"], "redis-server redis-tools", make_redis),
    Program("python", "object graphs, PYTHONMALLOC=malloc", ["/usr/bin/python3"], "python3",
            make_python),
    Program("lua", "tables, strings, closures", ["lua5.4"], "lua5.4", make_lua),
    Program("z3", "a generated SMT problem", ["z3"], "z3", make_z3),
    Program("sqlite", "queries on a generated database", ["sqlite3"], "sqlite3", make_sqlite),
    Program("g++", "one heavy translation unit, -O1", ["g++"], "g++", make_gxx),
    Program("rustc", "a generated crate, its own malloc hidden", ["rustc"], "rustc-web",
            make_rustc),
    Program("node", "JSON and zlib", ["node"], "nodejs", make_node),
    Program("perl", "hashes of lists of hashes", ["perl"], "perl", make_perl),
    Program("postgres", "single-user mode: joins, aggregates, JSON", [str(POSTGRES / "postgres"),
            str(POSTGRES / "initdb"), "setpriv"], "postgresql-15 util-linux", make_postgres),
]


@dataclass
class Row:
    """One allocator of one program: ratios over the baseline. `tie` is how far from it noise may
    put it; predictions are None where the replay gave none."""

    allocator: str
    predicted_cpu: float | None
    real_cpu: float
    real_cpu_range: tuple[float, float]
    predicted_rss: float | None
    real_rss: float


@dataclass
class Result:
    program: str
    baseline: str
    share: float
    faithful: bool
    noise: float
    verdict: str
    recommended: str
    rows: list[Row]


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"it failed with status {done.returncode}"


def advise(carrel: str, allocators: str, runs: int, command: Command, folder: Path,
           timeout: float) -> Any:
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    if command.prefix:
        # Traces and the like are written by the other user too.
        environment["TMPDIR"] = str(folder)
        if run_whole([*command.prefix, "test", "-x", carrel]).returncode != 0:
            raise RuntimeError(f"nobody may not run {carrel}: let others read the folders above "
                               "it, or start this as a user that is not root")
    arguments = [carrel, "advise", "--all", "--json", "--runs", str(runs)]
    if allocators:
        arguments += ["--alloc", allocators]
    done = run_whole([*command.prefix, *arguments, "--", *command.words], timeout, environment)
    if done.returncode not in VERDICTS:
        raise RuntimeError(last_line(done))
    return json.loads(done.stdout)


def digest(name: str, document: Any) -> Result:
    """The prediction: of the program's CPU time only the allocator's share changes, by the ratio of
    the replays; of its memory only what the replays differ by."""
    share = document["cpu"]["in_allocator"]["median"]
    real, replay = document["comparison"], document.get("replay", {"allocators": []})
    replayed = {one["name"]: one for one in replay["allocators"] if "failed" not in one}
    baseline = real["baseline"]
    base_rss = real["allocators"][0]["metrics"]["peak_rss_bytes"]["median"]
    base_replay = replayed.get(baseline, {}).get("metrics", {}).get("peak_rss_bytes", {})
    rows = []
    for one in real["allocators"][1:]:
        if "failed" in one or "cpu_s" not in one.get("ratios", {}):
            continue
        other = replayed.get(one["name"], {})
        cpu = other.get("ratios", {}).get("cpu_s", {}).get("median")
        rss = other.get("metrics", {}).get("peak_rss_bytes", {}).get("median")
        measured = one["ratios"]["cpu_s"]
        rows.append(Row(
            one["name"], None if cpu is None else 1 - share * (1 - cpu), measured["median"],
            (measured["low"], measured["high"]),
            None if rss is None or not base_replay
            else 1 + (rss - base_replay["median"]) / base_rss,
            one["ratios"]["peak_rss_bytes"]["median"]))
    verdict = document["verdict"]
    return Result(name, baseline, share, document.get("fidelity", {}).get("within", False),
                  real["noise"].get("cpu_s", 0), verdict["action"], verdict["allocator"], rows)


def told_apart(result: Result) -> list[tuple[bool, bool]]:
    """Pairs of allocators whose real runs differ beyond their intervals and the noise: whether the
    replays told them apart by 1% or more, and whether they put them in the same order."""
    points = [(1.0, 1.0, (1.0, 1.0))]
    points += [(row.predicted_cpu, row.real_cpu, row.real_cpu_range) for row in result.rows
               if row.predicted_cpu is not None]
    out = []
    for (p, r, (low, high)), (q, s, (other_low, other_high)) in combinations(points, 2):
        if abs(r - s) <= result.noise or (low <= other_high and other_low <= high):
            continue
        out.append((abs(p - q) >= 0.01, (p < q) == (r < s)))
    return out


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def table(results: list[Result]) -> str:
    lines = ["| program | its own, share of CPU | | CPU predicted | CPU real | peak RSS predicted "
             "| peak RSS real |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for result in results:
        first = f"{result.program} | {result.baseline}, {result.share:.1%}"
        if not result.faithful:
            first += ", replay not faithful"
        for row in result.rows:
            low, high = row.real_cpu_range
            lines.append(f"| {first} | {row.allocator} | {number(row.predicted_cpu)} | "
                         f"{row.real_cpu:.2f} ({low:.2f}-{high:.2f}) | "
                         f"{number(row.predicted_rss)} | {row.real_rss:.2f} |")
            first = " | "
        lines.append(f"| | noise {result.noise:.1%} | verdict | {result.verdict} | "
                     f"{result.recommended} | | |")
    return "\n".join(lines)


def summary(results: list[Result]) -> str:
    pairs = [pair for result in results if result.faithful for pair in told_apart(result)]
    clear = [same for told, same in pairs if told]
    errors = sorted(abs(row.predicted_cpu - row.real_cpu) for result in results
                    if result.faithful for row in result.rows if row.predicted_cpu is not None)
    lines = [f"Pairs of allocators that real runs tell apart: {len(pairs)}; replays put "
             f"{sum(clear)} in the same order, {len(clear) - sum(clear)} in the other, and call "
             f"{len(pairs) - len(clear)} equal within 1%."]
    if errors:
        lines.append(f"CPU predicted minus real: median {errors[len(errors) // 2]:.3f}, worst "
                     f"{errors[-1]:.3f} of the baseline's, over {len(errors)} predictions.")
    return "\n".join(lines)


def validate(program: Program, options: argparse.Namespace) -> Result:
    """Everything about one program. Raises RuntimeError, with a line for the user, or what the
    system or the analysis document are to blame for."""
    missing = [word for word in program.needs if shutil.which(word) is None]
    if missing:
        raise RuntimeError(f"{missing[0]} is missing: run ./dev setup, or apt-get install "
                           f"{program.package}")
    print(f"validate: {program.name}: {program.what}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="carrel-validate-") as folder:
        place = Path(folder) / "work"
        place.mkdir()
        command = program.make(place, 0.2 if options.quick else 1)
        document = advise(options.carrel, options.alloc, options.runs, command, place,
                          options.timeout)
    if options.out:
        (options.out / f"{program.name}.json").write_text(json.dumps(document, indent=1))
    failed = document["program"].get("failed")
    if failed:
        raise RuntimeError(f"the program {failed}; run it by itself to see why")
    return digest(program.name, document)


def check_places(options: argparse.Namespace) -> str | None:
    """What is wrong with carrel or the folder for results, before hours are spent."""
    if not os.access(options.carrel, os.X_OK):
        return f"no carrel at {options.carrel}: run ./dev build, or name one with --carrel PATH"
    if options.out:
        try:
            options.out.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=options.out):
                pass
        except OSError as error:
            return f"--out {options.out}: {error.strerror}; choose another folder"
    return None


def report(results: list[Result], absent: list[str], runs: int) -> None:
    print(f"{platform.release()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f} at the end; "
          f"{runs} real runs of each\n")
    print(table(results) + "\n\n" + summary(results))
    for line in absent:
        print(f"left out: {line}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("programs", nargs="*", help="those to look at; all if none is named")
    parser.add_argument("--alloc", default="glibc,carrel,jemalloc,mimalloc,tcmalloc",
                        help="allocators, the baseline first; those not installed fail")
    parser.add_argument("--runs", type=int, default=5, help="real runs of each")
    parser.add_argument("--quick", action="store_true", help="a fifth of the work, for a look")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one program")
    parser.add_argument("--out", type=Path, help="write the analysis documents to this folder")
    parser.add_argument("--carrel", default=str(ROOT / "build/release/bin/carrel"))
    options = parser.parse_args()
    known = {program.name: program for program in PROGRAMS}
    unknown = [name for name in options.programs if name not in known]
    if unknown:
        parser.error(f"no program {unknown[0]}; known: {', '.join(known)}")
    wrong = check_places(options)
    if wrong is not None:
        print(f"validate: {wrong}", file=sys.stderr)
        return 2
    results: list[Result] = []
    absent: list[str] = []
    interrupted = False
    for program in PROGRAMS:
        if options.programs and program.name not in options.programs:
            continue
        try:
            results.append(validate(program, options))
        except KeyboardInterrupt:
            interrupted = True
            absent.append(f"{program.name} and what follows: interrupted")
            break
        except subprocess.TimeoutExpired:
            absent.append(f"{program.name}: not finished after {options.timeout:g} s; give it more "
                          "with --timeout")
        except KeyError as error:
            absent.append(f"{program.name}: the analysis document has no {error}")
        except (RuntimeError, OSError, ValueError) as error:
            absent.append(f"{program.name}: {error}")
    if results:
        report(results, absent, options.runs)
    else:
        print("validate: nothing could be validated:\n" + "\n".join(absent), file=sys.stderr)
    if interrupted:
        return 130
    return 0 if results else 1


if __name__ == "__main__":
    sys.exit(main())
