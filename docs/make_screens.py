"""Writes README's terminal screen and the pictures in docs/screens, from a real run.

It starts a sample workload that is slow for a known reason, attaches perfscope to it, and captures
its output, report and dashboard. Run it with `make screens`.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from perfscope.ui.answer import AnswerOptions, load_and_diagnose
from perfscope.ui.dashboard.serve import Dashboard
from sample_workloads.demo import stop, wait_for_steps
from tests.ui.browsing import open_browser, use_color_scheme

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PICTURES = ROOT / "docs" / "screens"
BEGIN = "<!-- The screen of a real run: `make screens` writes it. -->\n```\n"
END = "```\n<!-- end of the screen -->\n"
WORKLOAD = "sample_workloads.too_few_workers"
VERDICT = "input-bound"
ATTEMPTS = 4
RUN = "train.perfscope"
REPORT = "report.html"
RECORDED_S, LONGEST_S = 15, 300
READY_S = 60.0
WIDTH, MOST_HEIGHT, MARGIN = 1280, 1600, 16
"""The size of a picture in pixels; it ends this far below the last card that fits."""
END_OF_LAST_CARD = """
    const cards = [...document.querySelectorAll("main .card, main .timeline")];
    const ends = cards.map((card) => card.getBoundingClientRect().bottom);
    return Math.max(...ends.filter((end) => end + arguments[0] <= innerHeight));
"""


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="perfscope-screens-") as name:
        folder = Path(name)
        screen = record_expected_screen(folder)
        README.write_text(replace_screen(README.read_text("utf-8"), screen), "utf-8")
        take_pictures(folder)
    print(f"wrote {README.name} and {PICTURES.relative_to(ROOT)}")
    return 0


def record_expected_screen(folder: Path) -> str:
    """Record the workload until the verdict is the reason for which it is slow.

    On a busy machine the verdict is that other programs use the cores.
    """
    for _ in range(ATTEMPTS):
        screen = record_screen(folder)
        _, diagnosis = load_and_diagnose(folder / RUN, AnswerOptions())
        if diagnosis.verdict.id == VERDICT:
            return screen
        print(f"the verdict is {diagnosis.verdict.id}, not {VERDICT}: is the machine busy?")
        shutil.rmtree(folder / RUN)
    raise SystemExit("nothing was written; run `make screens` on an idle machine")


def record_screen(folder: Path) -> str:
    """Record the workload into `folder`; return the command and what it printed."""
    command = [sys.executable, "-m", WORKLOAD, "--seconds", str(LONGEST_S)]
    target = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True, cwd=ROOT
    )
    try:
        if not wait_for_steps(target):
            raise SystemExit("the sample workload did not start; its message is above")
        options = ["--duration", str(RECORDED_S), "--out", RUN, "--html", REPORT]
        attach = [sys.executable, "-m", "perfscope", "attach", str(target.pid), *options]
        printed = subprocess.run(attach, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    finally:
        stop(target)
    return f"$ perfscope attach {target.pid} {' '.join(options)}\n{printed.stdout}"


def replace_screen(text: str, screen: str) -> str:
    """Return README's text with another screen between its markers."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{README.name} has no markers for the screen")
    return before + BEGIN + screen.rstrip("\n") + "\n" + END + after


def take_pictures(folder: Path) -> None:
    """Take pictures of the report and of the dashboard, each in light and dark."""
    browser = open_browser("--hide-scrollbars")
    dashboard = Dashboard(folder / RUN, port=0)
    try:
        set_page_size(browser, MOST_HEIGHT)
        browser.get(dashboard.url)  # signs in
        for scheme in ("light", "dark"):
            use_color_scheme(browser, scheme)
            browser.get(f"file://{folder / REPORT}")
            wait_for(browser, "document.documentElement.dataset.drawn === 'yes'")
            take_picture(browser, PICTURES / f"report-{scheme}.png")
            browser.get(f"http://127.0.0.1:{dashboard.access.port}/")
            wait_for(browser, "document.querySelectorAll('#page .step-chart svg').length > 0")
            take_picture(browser, PICTURES / f"dashboard-{scheme}.png")
    finally:
        dashboard.close()
        browser.quit()


def take_picture(browser: Any, path: Path) -> None:
    """Write a picture of the top of the page, to the end of the last card that fits."""
    end = browser.execute_script(END_OF_LAST_CARD, MARGIN)
    set_page_size(browser, round(end) + MARGIN)
    browser.save_screenshot(str(path))
    set_page_size(browser, MOST_HEIGHT)


def set_page_size(browser: Any, height: int) -> None:
    """Set the visible part of the page, in pixels."""
    size = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def wait_for(browser: Any, condition: str) -> None:
    """Wait until a condition in the page is true and the page had time to draw."""
    end_s = time.monotonic() + READY_S
    while not browser.execute_script(f"return {condition}"):
        if time.monotonic() > end_s:
            raise SystemExit(f"the page is not ready after {READY_S:.0f} s: {condition}")
        time.sleep(0.2)
    time.sleep(2.0)


if __name__ == "__main__":
    sys.exit(main())
