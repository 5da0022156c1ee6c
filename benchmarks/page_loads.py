"""Measures how long each page of the dashboard takes to load, in a real browser:
`python -m benchmarks.page_loads PATH`.

PATH is a trace or a run folder. For each page it prints the time from the request to the last
change of the page, first with an empty cache (cold, the server has just read the run), then with a
filled one (warm), the bytes that travelled when cold, the nodes of the page, and the longest task
of the main thread. Two busy cores double the times: the load average is printed too.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.ui.browsing import open_browser

QUIET_S = 1.0
"""A page is loaded when nothing has changed for so long."""
LONGEST_S = 60.0
PAGE_LINKS = "#links a[href*='/run/']"
OBSERVE = """
window.lastChange = performance.now();
window.longestTask = 0;
new MutationObserver(() => { window.lastChange = performance.now(); })
  .observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
new PerformanceObserver((list) => {
  for (const task of list.getEntries())
    window.longestTask = Math.max(window.longestTask, task.duration);
}).observe({ type: "longtask", buffered: true });
"""
READ = """
const loaded = performance.getEntriesByType("resource");
const first = performance.getEntriesByType("navigation")[0];
const bytes = loaded.reduce((sum, each) => sum + each.transferSize, first.transferSize);
return [window.lastChange, performance.now(), bytes,
  document.getElementsByTagName("*").length, window.longestTask,
  document.querySelector("[data-dash-is-loading=true],._dash-loading") !== null];
"""


@dataclass(frozen=True)
class PageLoad:
    """What one load of a page took."""

    stable_ms: float
    transferred_bytes: float
    nodes: int
    longest_task_ms: float


@contextmanager
def dashboard(path: Path) -> Iterator[str]:
    """Run `perfscope ui PATH`; yield the address of the run's overview."""
    command = [sys.executable, "-m", "perfscope", "ui", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        for line in server.stdout:
            address = re.search(r"http://\S+", line)
            if address is not None:
                break
        else:
            raise SystemExit("the dashboard did not start")
        try:
            yield address.group()
        finally:
            server.terminate()


def load_page(browser: Any, address: str) -> PageLoad:
    """Open an address and wait until the page no longer changes."""
    browser.get("about:blank")
    browser.get(address)
    until_s = time.monotonic() + LONGEST_S
    while time.monotonic() < until_s:
        changed_ms, now_ms, transferred, nodes, task_ms, loads = browser.execute_script(READ)
        if now_ms - changed_ms >= QUIET_S * 1e3 and nodes > 40 and not loads:
            return PageLoad(changed_ms, transferred, nodes, task_ms)
        time.sleep(0.1)
    raise SystemExit(f"{address} changed for {LONGEST_S:g} s")


def pages_of(browser: Any, address: str) -> dict[str, str]:
    """Return the address of each page of the first run that the dashboard lists, by its name."""
    load_page(browser, address)
    links = "return [...document.querySelectorAll(arguments[0])].map((a) => [a.innerText, a.href])"
    if not browser.execute_script(links, PAGE_LINKS):
        first = browser.execute_script(links, "#page a[href*='/run/']")
        load_page(browser, first[0][1])
    return dict(browser.execute_script(links, PAGE_LINKS))


def measure(browser: Any, address: str, repeats: int) -> tuple[PageLoad, float]:
    """Return the cold load of a page, and the median of its warm loads in ms."""
    browser.execute_cdp_cmd("Network.clearBrowserCache", {})
    cold = load_page(browser, address)
    warm = [load_page(browser, address).stable_ms for _ in range(repeats)]
    return cold, median(warm)


def main() -> None:
    """Print a row for each page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    browser = open_browser("--window-size=1440,900")
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": OBSERVE})
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("page                    cold ms  warm ms    kB cold    nodes  longest task ms")
    with dashboard(options.path) as address:
        for name, page in pages_of(browser, address).items():
            cold, warm_ms = measure(browser, page, options.repeats)
            print(
                f"{name:22} {cold.stable_ms:8.0f} {warm_ms:8.0f}"
                f" {cold.transferred_bytes / 1e3:10.0f} {cold.nodes:8}"
                f" {cold.longest_task_ms:16.0f}",
                flush=True,
            )
    browser.quit()


if __name__ == "__main__":
    main()
