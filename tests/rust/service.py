#!/usr/bin/env python3
"""service: the example service answers on carrel, and its /stats can be read by a machine.

An order comes back as a receipt and as a page, and in the summary that a background task makes;
what is no order is refused; the load generator finds no fault; /stats is one JSON object, in
Prometheus' format each sample has its type; the numbers follow the load.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request

import cargo

EXAMPLE = cargo.ROOT / "rust" / "examples" / "service"
ORDER = {"customer": "a & b", "items": [{"name": "tea", "count": 3, "price": 0.5, "tags": ["x"]}]}


def fetch(port: str, path: str, body: dict | None = None) -> tuple[str, str]:
    """The answer and its content type."""
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=data)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode(), answer.headers.get("content-type", "")


def check_answers(port: str) -> None:
    receipt = json.loads(fetch(port, "/order", ORDER)[0])
    cargo.check(receipt["total"] == 1.5 and not receipt["known"], f"the receipt: {receipt}")
    cargo.check(json.loads(fetch(port, "/order", ORDER)[0])["known"], "the order was forgotten")
    page, kind = fetch(port, "/receipt/a%20&%20b")
    cargo.check("<h1>a &amp; b</h1>" in page and "html" in kind, f"the page: {page}")


def check_summary(port: str) -> None:
    """What the background task counts, some moments after the orders."""
    deadline = time.monotonic() + 30
    while True:
        text, kind = fetch(port, "/summary")
        if text and json.loads(text).get("tea") == 3:
            break
        cargo.check(time.monotonic() < deadline, f"the summary stays {text!r}")
        time.sleep(0.1)
    cargo.check(kind == "application/json", f"/summary is {kind}")


def check_refusals(port: str) -> None:
    for path, body, status in (("/receipt/nobody", None, 404), ("/nothing", None, 404),
                               ("/order", {"customer": "x"}, 400)):
        try:
            fetch(port, path, body)
        except urllib.error.HTTPError as error:
            cargo.check(error.code == status, f"{path}: {error.code}")
        else:
            cargo.die(f"{path} was answered")


def check_statistics(port: str) -> int:
    """Both forms; the blocks in the program's hands."""
    text, kind = fetch(port, "/stats")
    numbers = json.loads(text)
    cargo.check(kind == "application/json" and "schema_version" in numbers, f"/stats: {text[:200]}")
    text, kind = fetch(port, "/stats?format=prometheus")
    cargo.check(kind.startswith("text/plain"), f"/stats?format=prometheus is {kind}")
    types = set(re.findall(r"^# TYPE (\S+) (?:gauge|counter)$", text, re.MULTILINE))
    samples = re.findall(r"^([a-z_]+)(?:\{[^}]*\})? \d+$", text, re.MULTILINE)
    cargo.check(bool(samples) and set(samples) <= types, f"samples without a type in:\n{text}")
    cargo.check(fetch(port, "/metrics")[0].startswith("# "), "no /metrics")
    found = re.search(r"^\S*live_blocks(?:\{\})? (\d+)$", text, re.MULTILINE)
    cargo.check(found is not None, f"no live blocks in:\n{text}")
    return int(found.group(1))


def main() -> int:
    how = ["--locked", "-q", "--features", "carrel", "--manifest-path", str(EXAMPLE / "Cargo.toml")]
    cargo.run(["cargo", "build", *how])
    cargo.run(["cargo", "test", *how, "--bin", "service"])
    programs = cargo.target_dir() / "debug"
    server = subprocess.Popen([str(programs / "service")], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True, env=cargo.environment())
    try:
        name, port = server.stdout.readline().split()
        cargo.check(name == "carrel", f"the service says it runs on {name}")
        check_answers(port)
        check_summary(port)
        check_refusals(port)
        before = check_statistics(port)
        done = cargo.run([str(programs / "load"), port, "16", "1"])
        result = json.loads(done.stdout)
        cargo.check(result["requests"] >= 16, f"the load: {result}")
        after = check_statistics(port)
        cargo.check(after > before, f"{before} live blocks before the load, {after} after it")
    finally:
        server.stdin.close()
        server.wait(60)
    print(f"service: {result['requests']} requests; live blocks {before}, then {after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
