"""Chromium without a window, driven through its DevTools pipe: no driver and no package is needed."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
# WebGL 2 in software; no network of its own.
FLAGS = (
    *("--headless=new", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader"),
    *("--enable-unsafe-swiftshader", "--remote-debugging-pipe", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-dev-shm-usage", "--no-first-run"),
)


class Browser:
    """One page at a time. ``faults``: errors and warnings of its console, and exceptions; ``requests``: all
    that it asked for from anywhere but itself."""

    def __init__(self, profile: Path, *flags: str) -> None:
        assert CHROMIUM is not None
        to_browser, write = os.pipe()
        read, from_browser = os.pipe()

        # Chromium reads from descriptor 3 and writes to 4. dash has no numbers above 9.
        shell = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(
            [
                "bash",
                "-c",
                shell,
                CHROMIUM,
                *FLAGS,
                *flags,
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            pass_fds=(to_browser, from_browser),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._read, self._write, self._rest, self._last = read, write, b"", 0
        self.faults: list[str] = []
        self.requests: list[str] = []
        target = self._send("Target.createTarget", {"url": "about:blank"}, None)["targetId"]
        attach = {"targetId": target, "flatten": True}
        self._session = self._send("Target.attachToTarget", attach, None)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)
        os.close(self._read)
        os.close(self._write)

    def open(self, path: Path, until: str, seconds: float = 60) -> float:
        """Load the file, wait until the expression ``until`` is true, and give the seconds that took."""
        begun = time.monotonic()
        self.send("Page.navigate", {"url": path.resolve().as_uri()})
        self.wait(until, seconds)
        return time.monotonic() - begun

    def wait(self, until: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not self.run(until):
            if time.monotonic() > end:
                raise TimeoutError(f"{until} is not true after {seconds} s; {self.faults}")
            time.sleep(0.05)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        found = self.send("Runtime.evaluate", asked)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def press(self, key: str, code: str = "") -> None:
        """Press and release a key, as a user would."""
        text = {"text": key} if len(key) == 1 else {}
        how = {"key": key, "code": code or key, **text}
        self.send("Input.dispatchKeyEvent", {"type": "keyDown", **how})
        self.send("Input.dispatchKeyEvent", {"type": "keyUp", **how})

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            where = {"x": x, "y": y, "button": "left", "clickCount": 1}
            self.send("Input.dispatchMouseEvent", {"type": kind, **where})

    def size(self, width: int, height: int) -> None:
        shape = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", shape)

    def scheme(self, value: str, media: str = "") -> None:
        """The colour scheme that the user prefers, and the medium ("print", or "" for the screen)."""
        features = [{"name": "prefers-color-scheme", "value": value}]
        self.send("Emulation.setEmulatedMedia", {"media": media, "features": features})

    def picture(self, clip: dict[str, float] | None = None, *, whole: bool = False) -> bytes:
        """A PNG of what is shown, of ``clip`` (x, y, width, height), or of the whole page."""
        more: dict[str, Any] = {"captureBeyondViewport": whole}
        if clip:
            more["clip"] = {**clip, "scale": 1}
        return base64.b64decode(
            self.send("Page.captureScreenshot", {"format": "png", **more})["data"]
        )

    def send(self, method: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._send(method, parameters or {}, self._session)

    def _send(self, method: str, parameters: dict[str, Any], session: str | None) -> dict[str, Any]:
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self._notice(answer)

    def _receive(self, seconds: float = 90) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select.select([self._read], [], [], seconds)[0]:
                raise TimeoutError("Chromium does not answer")
            part = os.read(self._read, 1 << 20)
            if not part:
                raise RuntimeError("Chromium has ended")
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))

    def _notice(self, event: dict[str, Any]) -> None:
        method, content = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.faults.append(str(content["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and content["type"] in (
            "error",
            "warning",
            "assert",
        ):
            self.faults.append(str(content["args"]))
        elif method == "Log.entryAdded" and content["entry"]["level"] in ("error", "warning"):
            self.faults.append(content["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            url = content["request"]["url"]
            if not url.startswith(("data:", "blob:", "about:")):
                self.requests.append(url)
