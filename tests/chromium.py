"""Chromium, headless, as Debian packages it, for the tests of the report."""

import importlib
import importlib.util
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sample_runs import run_of

from vitbench.reports import model, render

webdriver: Any = importlib.import_module("selenium.webdriver") if importlib.util.find_spec("selenium") else None
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    not (webdriver and CHROMIUM and DRIVER),
    reason="no Chromium with its driver: apt-get install chromium chromium-driver; pip install selenium",
)

OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
DESKTOP, TABLET, PHONE = (1280, 900), (820, 1180), (390, 844)


class Browser:
    """The one driver of this module, and what is asked of it."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, fragment: str = "") -> None:
        """Load a page at desktop width, in the light theme, as on a first visit."""
        self.resize(*DESKTOP)
        self.prefer("light")
        self.driver.get(page.as_uri())
        self.run("localStorage.clear()")
        self.driver.get("about:blank")
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)
        self.driver.get(page.as_uri() + fragment)

    def run(self, script: str, *arguments: Any) -> Any:
        """Evaluate JavaScript, as a developer's console would."""
        return self.driver.execute_script(f"return {script}", *arguments)

    def find(self, selector: str) -> Any:
        """The first element that a CSS selector finds."""
        return self.driver.find_element("css selector", selector)

    def send(self, command: str, **parameters: Any) -> Any:
        """One command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(command, parameters)

    def resize(self, width: int, height: int) -> None:
        """Take the size of a device; a window could not be made as narrow as a phone."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    def prefer(self, scheme: str) -> None:
        """Have the system ask for a light or a dark theme."""
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def complaints(self) -> list[str]:
        """What the console says: errors, warnings and refusals of the policy."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses that the page asked for beside itself."""
        messages = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        urls = [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in urls if not url.startswith(("data:", "blob:"))]

    def visible(self, selector: str) -> int:
        """How many of the elements found are to be seen."""
        script = "[...document.querySelectorAll(arguments[0])].filter((e) => e.checkVisibility()).length"
        return int(self.run(script, selector))

    def wait(self, condition: Callable[[], Any]) -> Any:
        """Until it holds, for at most twenty seconds, which only a busy machine takes."""
        end = time.monotonic() + 20
        while not (result := condition()) and time.monotonic() < end:
            time.sleep(0.02)
        return result

    def inaccessible(self) -> list[str]:
        """What axe-core finds on the page that is serious or critical, each with its first element."""
        found = importlib.util.find_spec("axe_core_python")
        if found is None or found.origin is None:
            pytest.skip("axe-core-python is not installed: pip install 'vitbench[dev]'")
        self.driver.execute_script((Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8"))
        return list(
            self.driver.execute_async_script("""
                const done = arguments[arguments.length - 1];
                const grave = (violation) => ["serious", "critical"].includes(violation.impact);
                axe.run().then(
                    (result) => done(result.violations.filter(grave).map((v) => `${v.id}: ${v.help}: ${v.nodes[0].html}`)),
                    (error) => done([String(error)]),
                );
            """)
        )


@contextmanager
def chromium() -> Iterator[Browser]:
    """One Chromium, ended after use."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    driver.set_script_timeout(120)  # axe takes seconds, on a busy machine a minute
    try:
        yield Browser(driver)
    finally:
        driver.quit()


def written(records: Any, folder: Path) -> Path:
    """A report of these records."""
    target = folder / "report.html"
    render.write(model.build([run_of(records, folder)]), target)
    return target
