"""Drives a headless Chromium over its debugging pipe: no port, no driver, no package.

One page at a time. Console messages, uncaught errors and attempts to fetch anything are gathered in
`Page.problems`. It knows nothing of reports.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

START_SECONDS = 120.0
CALL_SECONDS = 60.0
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
         "--disable-dev-shm-usage", "--disable-extensions", "--disable-background-networking",
         "--remote-debugging-pipe", "about:blank"]


class BrowserError(Exception):
    """The browser did not do what it was asked."""


def find_chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        path = shutil.which(name)
        if path:
            return path
    raise BrowserError("chromium is not installed; run ./dev setup")


class Page:
    """A tab. Times out rather than hangs; every error is a BrowserError."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.problems: list[str] = []

    def _read(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._answers], [], [], left)[0]:
                raise BrowserError("chromium did not answer in time")
            chunk = os.read(self._answers, 1 << 16)
            if not chunk:
                raise BrowserError("chromium ended")
            self._buffer += chunk
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def _note(self, message: dict[str, Any]) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.problems.append("exception: " + details.get("exception", {}).get(
                "description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.problems.append("console: " + " ".join(
                str(a.get("value", a.get("description"))) for a in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.problems.append("log: " + params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(("file:", "data:", "about:")):
                self.problems.append("request: " + url)

    def call(self, method: str, seconds: float = CALL_SECONDS, **params: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + seconds
        while True:
            answer = self._read(deadline)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._note(answer)

    def attach(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            targets = self.call("Target.getTargets", START_SECONDS)["targetInfos"]
            pages = [t for t in targets if t["type"] == "page"]
            if pages:
                break
            if time.monotonic() > deadline:
                raise BrowserError("chromium opened no page")
            time.sleep(0.1)
        self._session = self.call("Target.attachToTarget", targetId=pages[0]["targetId"],
                                  flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def size(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)

    def theme(self, name: str) -> None:
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": name}])

    def open(self, path: Path, ready: str) -> None:
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait(ready)

    def run(self, script: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True,
                           awaitPromise=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(f"{script}: " + details.get("exception", {}).get(
                "description", details["text"]))
        return answer["result"].get("value")

    def wait(self, condition: str, seconds: float = CALL_SECONDS) -> None:
        """Until the expression is true."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(BrowserError):
                if self.run(f"Boolean({condition})"):
                    return
            if time.monotonic() > deadline:
                raise BrowserError(f"never true: {condition}; problems: {self.problems}")
            time.sleep(0.05)

    def key(self, key: str, code: int = 0) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                      windowsVirtualKeyCode=code)

    def copied_texts(self) -> dict[str, str]:
        """What each section's button copies, by the section's id."""
        return self.run("""(async () => {
          const texts = {};
          let last = '';
          Object.defineProperty(navigator, 'clipboard', {configurable: true,
            value: {writeText: async (text) => { last = text; }}});
          for (const button of document.querySelectorAll('button[data-copy]')) {
            button.click();
            await new Promise((done) => setTimeout(done, 20));
            texts[button.closest('section').id] = last;
          }
          return texts; })()""")

    def screenshot(self, path: Path, whole: bool = True) -> None:
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))


@contextlib.contextmanager
def browser() -> Iterator[Page]:
    """A page of a fresh Chromium with a profile of its own; ends it afterwards."""
    command_read, command_write = os.pipe()
    answer_read, answer_write = os.pipe()

    def place_pipes() -> None:
        # The browser reads commands from descriptor 3 and writes answers to 4.
        reader = fcntl.fcntl(command_read, fcntl.F_DUPFD_CLOEXEC, 10)
        writer = fcntl.fcntl(answer_write, fcntl.F_DUPFD_CLOEXEC, 10)
        os.dup2(reader, 3)
        os.dup2(writer, 4)

    with tempfile.TemporaryDirectory(prefix="carrel-browser-", ignore_cleanup_errors=True) as home:
        process = subprocess.Popen(
            [find_chromium(), f"--user-data-dir={home}/profile", *FLAGS],
            preexec_fn=place_pipes, close_fds=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, "HOME": home})
        os.close(command_read)
        os.close(answer_write)
        try:
            page = Page(command_write, answer_read)
            page.attach()
            yield page
            with contextlib.suppress(BrowserError, OSError):
                page._session = None
                page.call("Browser.close", 10)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            os.close(command_write)
            os.close(answer_read)
