"""What watching costs: the CPU share of the dashboard with 1 and with 2 viewers of a run of 2 ranks and 4 loader workers.

`python -m benchmarks.ui_live [SECONDS]` needs chromium and chromedriver. Budget: 10 % of a core per viewer.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

PER_VIEWER = 0.10
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking --window-size=1280,1400"
)
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
SAMPLE = ["-m", "sample_workloads.too_few_workers", "--workers", "2", "--seconds", "600"]


def viewer(url: str) -> Any:
    """A browser that looks at the live page."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in FLAGS.split():
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    driver.get(url)
    return driver


def looks(driver: Any) -> int:
    """How many looks the page has taken."""
    script = "return performance.getEntriesByType('resource').filter(one => one.name.includes('_dash-update')).length"
    return int(driver.execute_script(script))


def measured(server: psutil.Process, viewers: list[Any], seconds: float) -> float:
    """CPU seconds of the server per second; prints how often the pages looked."""
    for one in viewers:
        one.execute_script("performance.clearResourceTimings(); performance.setResourceTimingBufferSize(5000)")
    before, began = server.cpu_times(), time.monotonic()
    time.sleep(seconds)
    after, spent = server.cpu_times(), time.monotonic() - began
    share = (after.user + after.system - before.user - before.system) / spent
    rate = sum(looks(one) for one in viewers) / len(viewers) / spent
    print(f"{len(viewers)} viewer(s): {100 * share:.1f} % of a core, {rate:.2f} looks a second each")
    return share


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    target = subprocess.Popen([*TORCHRUN, *SAMPLE], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as folder:
        time.sleep(10)
        command = [sys.executable, "-m", "perfscope", "ui", folder, "--live", str(target.pid)]
        board = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        viewers: list[Any] = []
        try:
            assert board.stdout is not None
            url = board.stdout.readline().strip()
            viewers.append(viewer(url))
            time.sleep(30)  # until the window is full
            worst = measured(psutil.Process(board.pid), viewers, seconds)
            viewers.append(viewer(url))
            time.sleep(5)
            worst = max(worst, measured(psutil.Process(board.pid), viewers, seconds) / 2)
        finally:
            for one in viewers:
                one.quit()
            board.terminate()
            board.wait(30)
            target.terminate()
            target.wait(30)
            print(f"left behind: {len(list(Path(folder).iterdir()))} run")
    print(f"worst share per viewer {100 * worst:.1f} % (budget {100 * PER_VIEWER:.0f} %)")
    return 0 if worst <= PER_VIEWER else 1


if __name__ == "__main__":
    sys.exit(main())
