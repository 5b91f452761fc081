"""Chromium without a window, driven by Selenium, with a new profile each time."""

from __future__ import annotations

import base64
import importlib.util
import json
import shutil
import time
from pathlib import Path
from typing import Any

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
DRIVER = shutil.which("chromedriver")
ABSENT = None in (CHROMIUM, DRIVER, importlib.util.find_spec("selenium"))
# WebGL 2 in software; no network of its own.
FLAGS = (
    *("--headless=new", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader"),
    *("--enable-unsafe-swiftshader", "--hide-scrollbars", "--disable-background-networking"),
    *("--disable-dev-shm-usage", "--no-first-run"),
)


class Browser:
    """One page at a time."""

    def __init__(self, profile: Path, *flags: str) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.options import Options
        from selenium.webdriver.chrome.service import Service

        options = Options()
        options.binary_location = str(CHROMIUM)
        options.page_load_strategy = "none"  # wait() says what is waited for
        for flag in (*FLAGS, *flags, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self._driver = webdriver.Chrome(options, Service(DRIVER))
        self._faults: list[str] = []
        self._requests: list[str] = []

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._driver.quit()

    @property
    def faults(self) -> list[str]:
        """Errors and warnings of the console, and exceptions, since the start."""
        found = self._driver.get_log("browser")
        self._faults += [each["message"] for each in found if each["level"] != "INFO"]
        return self._faults

    @property
    def requests(self) -> list[str]:
        """All that was asked for from anywhere but the page itself, since the start."""
        for each in self._driver.get_log("performance"):
            message = json.loads(each["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
                if not url.startswith(("data:", "blob:", "about:", "chrome:")):
                    self._requests.append(url)
        return self._requests

    def open(self, path: Path, until: str, seconds: float = 60) -> float:
        """Load the file, wait until the expression ``until`` is true, and give the seconds that took."""
        begun = time.monotonic()
        self._driver.get(path.resolve().as_uri())
        self.wait(until, seconds)
        return time.monotonic() - begun

    def wait(self, until: str, seconds: float = 60) -> None:
        """Wait until the expression ``until`` is true. Raises TimeoutError."""
        end = time.monotonic() + seconds
        while not self.run(until):
            if time.monotonic() > end:
                raise TimeoutError(f"{until} is not true after {seconds} s; {self.faults}")
            time.sleep(0.05)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        found = self._driver.execute_cdp_cmd("Runtime.evaluate", asked)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key, as a user would: a letter, or a name such as ARROW_LEFT."""
        from selenium.webdriver import ActionChains
        from selenium.webdriver.common.keys import Keys

        ActionChains(self._driver).send_keys(getattr(Keys, key, key)).perform()

    def size(self, width: int, height: int) -> None:
        """Give the page a size in pixels."""
        shape = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", shape)

    def scheme(self, value: str, media: str = "") -> None:
        """The colour scheme that the user prefers, and the medium ("print", or "" for the screen)."""
        features = [{"name": "prefers-color-scheme", "value": value}]
        how = {"media": media, "features": features}
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", how)

    def picture(self, clip: dict[str, float] | None = None) -> bytes:
        """A PNG of what is shown, or of ``clip`` (x, y, width, height)."""
        more = {"clip": {**clip, "scale": 1}} if clip else {}
        found = self._driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", **more})
        return base64.b64decode(found["data"])
