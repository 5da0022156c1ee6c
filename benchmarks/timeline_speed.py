"""Measures how fast the timeline responds, with many events in 64 lanes and a real browser.

The time is from the input of the user to the exact picture.

A server holds the lanes; a headless chromium of 1920 px zooms from the whole span to single events
and back, with pans between. Printed: first paint, hand to scaled frame, hand to exact picture,
payload, the browser's memory before and after. With `--trial FOLDER` a bare script (`srv.py` and
`tl.js`, which draw unlabeled bars) is driven the same way on the same machine right after. Usage:
`python -m benchmarks.timeline_speed [--events 1e7] [--trial FOLDER]`.
"""

import argparse
import http.client
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

LANES, NAMES = 64, 500
PORT, TRIAL_PORT = 8152, 8051
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run"
    " --disable-background-networking --disable-component-update --disable-sync"
    " --window-size=1920,1080"
)
PAGE = """<!doctype html><html><head><style>{style}</style></head>
<body style="margin:0"><div id="timeline"></div><script>{script}</script><script>
const T = perfscopeTimeline, root = document.getElementById("timeline");
T.mount(root, T.httpSource("/timeline/run"), {{ height: 880, hash: false }})
  .then((timeline) => timeline.settled()).then(() => {{ window.ready = performance.now(); }});
</script></body></html>"""
WALK = """const done = arguments[0];
const { timeline } = root;
const measured = [];
const nextFrame = () => new Promise(requestAnimationFrame);
const measure = async (act) => {
  const began = performance.now();
  act();
  const frame = nextFrame().then(() => performance.now() - began);
  await timeline.settled();
  await new Promise((painted) => requestAnimationFrame(() => setTimeout(painted, 0)));
  const exact = performance.now() - began;
  const { bytes, server, paint, wait } = timeline.stats[timeline.stats.length - 1];
  measured.push([exact, await frame, bytes, server, paint, wait]);
};
const pan = (share) => measure(() => T.pan(timeline, share));
const zoom = (factor) => {
  const { from, to } = timeline.view;
  return measure(() => T.zoom(timeline, factor, from + 0.43 * (to - from)));
};
(async () => {
  for (let i = 0; i < 22; i++) await zoom(0.6);
  for (let i = 0; i < 15; i++) await pan(0.2);
  for (let i = 0; i < 22; i++) await zoom(1 / 0.6);
  await zoom(0.5);
  for (let i = 0; i < 5; i++) await pan(0.1);
  await zoom(4);
  done(JSON.stringify(measured));
})();"""
TRIAL_WALK = """const done = arguments[0];
(async () => {
  window.stats.length = 0;
  for (let i = 0; i < 22; i++) await zoom(0.6, 0.43);
  for (let i = 0; i < 15; i++) await pan(0.2);
  for (let i = 0; i < 22; i++) await zoom(1 / 0.6, 0.43);
  for (let i = 0; i < 5; i++) await pan(0.1);
  done(JSON.stringify(window.stats));
})();"""


def serve(events: int) -> None:
    """Run the server: lanes of random events, behind the routes of the dashboard."""
    from flask import Flask
    from werkzeug.serving import make_server

    from perfscope.analyzer.timeline.lanes import timeline_lanes
    from perfscope.traces.trace import Trace
    from perfscope.ui.dashboard.serve import Handler
    from perfscope.ui.html.page_style import report_style
    from perfscope.ui.timeline.component_files import timeline_script, timeline_style
    from perfscope.ui.timeline.routes import add_timeline_routes

    lanes = random_lanes(events)

    class Synthetic(Trace):
        def fact(self, derive: Any, *keys: Any, **named: Any) -> Any:
            return lanes if derive is timeline_lanes else super().fact(derive, *keys, **named)

    trace, app = Synthetic({}, {}, [], span_ns=lanes.span_ns), Flask("benchmark")
    add_timeline_routes(app, lambda _: trace)
    app.add_url_rule(
        "/",
        "page",
        lambda: PAGE.format(style=report_style() + timeline_style(), script=timeline_script()),
    )
    make_server("127.0.0.1", PORT, app, threaded=True, request_handler=Handler).serve_forever()


def random_lanes(events: int) -> Any:
    """Return random events: exponential gaps, log-normal durations, names with a long tail."""
    from perfscope.analyzer.timeline.lane import EVENT_COLORS, Events, lane
    from perfscope.analyzer.timeline.names import Names
    from perfscope.analyzer.timeline.track import Group, Lanes, Track

    rng, each, names, made, tracks = np.random.default_rng(0), events // LANES, Names(), [], []
    for number in range(NAMES):
        names.code(f"operator_{number}", EVENT_COLORS[number % 10])
    for number in range(LANES):
        gap = rng.exponential(2000, each).astype(np.int64) + 1
        dur = rng.lognormal(8.5, 1.2, each).astype(np.int64) + 1
        ts = np.cumsum(gap + np.concatenate(([0], dur[:-1])))
        code = rng.zipf(1.5, each).clip(0, NAMES - 1).astype(np.int64)
        made.append(
            lane(Events(ts, dur, code, np.zeros(each, np.uint8), np.arange(each, dtype=np.int32)))
        )
        tracks.append(Track(0, "steps", f"lane {number}", number, 1, each, 0, False, 0, -1, -1, -1))
    end = max(int(events.ts[-1] + events.dur(slice(-1, None))[0]) for events in made)
    return Lanes((0, end), names, made, tracks, [Group("benchmark", 0, 0)])


@contextmanager
def running_server(
    command: list[str], folder: Path | None, port: int, path: str
) -> Iterator[psutil.Process]:
    """Start a server; yield it once it has answered, and end it."""
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not answers(port, path):
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
            time.sleep(0.2)
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@contextmanager
def browser() -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in FLAGS.split():
        options.add_argument(flag)
    driver = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(shutil.which("chromedriver") or "")
    )
    driver.set_script_timeout(170)
    try:
        yield driver
    finally:
        driver.quit()


def ready(driver: Any) -> float:
    """Return the milliseconds from the start of the navigation to the first exact picture."""
    while not (found := driver.execute_script("return window.ready || 0")):
        time.sleep(0.05)
    return float(found)


def heap_mb(driver: Any) -> float:
    """Return the size of the page's JavaScript heap after a collection, in MB."""
    driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
    driver.execute_cdp_cmd("Performance.enable", {})
    found = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return float(next(item["value"] for item in found if item["name"] == "JSHeapUsedSize")) / 1e6


def print_percentiles(name: str, values: Any, unit: str, digits: int = 1) -> None:
    p50, p95, most = np.percentile(values, [50, 95, 100])
    print(
        f"  {name:<34} p50 {p50:8.{digits}f}  p95 {p95:8.{digits}f}  max {most:8.{digits}f} {unit}",
        flush=True,
    )


def measure_perfscope(events: int, rounds: int, shot: Path | None) -> None:
    command = [sys.executable, "-m", "benchmarks.timeline_speed", "--serve", str(events)]
    with running_server(command, None, PORT, "/timeline/run/meta") as server, browser() as driver:
        print(
            f"perfscope, {events:,} events in {LANES} lanes; the server holds"
            f" {server.memory_info().rss / 1e9:.2f} GB"
        )
        driver.get(f"http://127.0.0.1:{PORT}/")
        print(f"  first paint {ready(driver):.0f} ms after the navigation began")
        before, walks = 0.0, []
        for _ in range(rounds):
            walks.append(np.array(json.loads(driver.execute_async_script(WALK))))
            before = before or heap_mb(driver)
        values = np.concatenate(walks)
        print(
            f"  {len(values)} interactions, {rounds} times from the whole to single events and back"
        )
        print_percentiles("hand to exact picture", values[:, 0], "ms")
        print_percentiles("hand to scaled frame", values[:, 1], "ms")
        print_percentiles("question to answer", values[:, 5], "ms")
        print_percentiles("server", values[:, 3], "ms")
        print_percentiles("painting", values[:, 4], "ms")
        print_percentiles("payload", values[:, 2] / 1000, "kB", 0)
        print(
            f"  heap of the page after the first round {before:.1f} MB, after the last"
            f" {heap_mb(driver):.1f} MB"
        )
        if shot is not None:
            driver.save_screenshot(str(shot))


def trial(folder: Path, events: int) -> None:
    with tempfile.TemporaryDirectory() as text:
        copy = Path(text)
        for name in ("srv.py", "tl.js"):
            shutil.copy(folder / name, copy / name)
        command = [sys.executable, "srv.py", str(events)]
        with running_server(command, copy, TRIAL_PORT, "/tl"), browser() as driver:
            print(
                f"the bare trial, {events:,} events in {LANES} lanes, no labels, nesting or"
                " selection"
            )
            driver.get(f"http://127.0.0.1:{TRIAL_PORT}/tl")
            print(f"  first paint {ready(driver):.0f} ms after the navigation began")
            values = np.array(json.loads(driver.execute_async_script(TRIAL_WALK)))
    print(f"  {len(values)} interactions")
    print_percentiles("hand to exact picture", values[:, 3], "ms")
    print_percentiles("server", values[:, 5], "ms")
    print_percentiles("payload", values[:, 4] / 1000, "kB", 0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=float, default=1e7, help="events in all lanes together")
    parser.add_argument(
        "--rounds", type=int, default=2, help="times from the whole to single events and back"
    )
    parser.add_argument(
        "--trial", type=Path, help="folder of the bare trial; without it only ours is measured"
    )
    parser.add_argument("--shot", type=Path, help="where to leave a picture of the last view")
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve is not None:
        return serve(int(asked.serve))
    measure_perfscope(int(asked.events), asked.rounds, asked.shot)
    if asked.trial is None:
        print("the bare trial was not asked for (--trial FOLDER)")
    elif not (asked.trial / "srv.py").is_file():
        print(f"{asked.trial} holds no srv.py: the trial is left out")
    else:
        trial(asked.trial, int(asked.events))
    return None


if __name__ == "__main__":
    main()
