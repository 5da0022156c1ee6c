"""The recording of a real process, watched and stopped in a real browser."""

import json
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest

import perfscope.ui.dashboard.live_run
from perfscope.traces.load import load_trace
from perfscope.traces.run_folder.stored import read_manifest
from perfscope.ui.dashboard.dashboard_data import Live
from perfscope.ui.dashboard.live_run import RunWatch
from perfscope.ui.dashboard.recording import SteeredRecording
from perfscope.ui.dashboard.serve import Dashboard
from tests.target_processes import until
from tests.ui.browsing import forget_last_page, shown_text


@pytest.fixture
def target(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "sample_workloads.too_few_workers", "--seconds", "120"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    assert "steps" in process.stdout.readline()
    yield process
    process.terminate()
    process.wait(30)
    process.stdout.close()


@pytest.fixture
def board(
    target: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Dashboard]:
    # Diagnose as often as possible; by default it uses only a share of the time.
    monkeypatch.setattr(perfscope.ui.dashboard.live_run, "DIAGNOSIS_SHARE", 1.0)
    out = tmp_path / "live.perfscope"
    recording = SteeredRecording(target.pid, out, ["--follow"])
    recording.wait_for_run_folder()
    watch = RunWatch(out, alive=lambda: recording.running)
    made = Dashboard(tmp_path, port=0, live=Live(watch, recording))
    watch.start()
    yield made
    watch.close()
    made.close()
    recording.close()


def test_the_page_follows_the_recording_and_stops_it(
    browser: Any, board: Dashboard, tmp_path: Path
) -> None:
    forget_last_page(browser)
    browser.get(board.url)
    until(lambda: "Time per step" in shown_text(browser, "#live-answer"), 60)
    until(lambda: "steps/s" in shown_text(browser, "#live-now"), 60)
    assert "data" in shown_text(browser, "#live-status")
    top = "return document.getElementById(arguments[0]).getBoundingClientRect().top"
    assert browser.execute_script(top, "live-now") < browser.execute_script(top, "live-answer")
    pages = [
        link.get_attribute("href") for link in browser.find_elements("css selector", "#links a")
    ]
    assert any(link.endswith("/run/live.perfscope/timeline") for link in pages)
    points = (
        "return document.querySelector('[data-chart=beat] path')?.getAttribute('d').match(/M/g)"
        "?.length || 0"
    )
    until(lambda: browser.execute_script(points) > 0)
    first = browser.execute_script(points)
    until(lambda: browser.execute_script(points) > first)
    until(lambda: "/live" in browser.current_url and "token" not in browser.current_url)
    until(lambda: ", 1 window" in shown_text(browser, "#live-status"), 60)
    browser.find_element("id", "live-window").click()
    until(lambda: "will record the next steps" in shown_text(browser, "#live-reply"))
    until(lambda: ", 2 windows" in shown_text(browser, "#live-status"), 60)
    browser.find_element("id", "live-stop").click()
    until(lambda: "stopped by the user" in shown_text(browser, "#live-status"), 60)
    until(lambda: not browser.find_element("id", "live-reply").is_displayed())
    manifest = read_manifest(tmp_path / "live.perfscope")
    assert manifest.finished and load_trace(tmp_path / "live.perfscope").damaged_records == 0
    errors = [
        entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"
    ]
    assert errors == []


def test_a_recording_finishes_when_its_dashboard_is_gone(
    target: subprocess.Popen[str], tmp_path: Path
) -> None:
    """The pipe to the recorder is closed: the recording is complete, and the target runs on."""
    out = tmp_path / "left.perfscope"
    recording = SteeredRecording(target.pid, out, ["--follow"])
    recording.wait_for_run_folder()
    pipe = recording.process.stdin
    assert pipe is not None
    pipe.close()
    assert recording.process.wait(30) == 0
    assert read_manifest(out).finished and target.poll() is None


def test_a_recording_of_limited_duration_ends_without_a_command(
    target: subprocess.Popen[str], tmp_path: Path
) -> None:
    """The thread that waits for commands is still waiting when the recorder ends."""
    recording = SteeredRecording(target.pid, tmp_path / "short.perfscope", ["--duration", "2"])
    try:
        assert recording.process.wait(60) == 0
    finally:
        recording.close()
    assert "2 s" in (read_manifest(tmp_path / "short.perfscope").end_reason or "")


def test_the_page_links_to_the_run_when_the_target_ends(
    browser: Any, board: Dashboard, target: subprocess.Popen[str]
) -> None:
    browser.get(board.url)
    until(lambda: shown_text(browser, "#live-status").startswith("recording"), 60)
    target.terminate()
    until(lambda: "the process ended" in shown_text(browser, "#live-status"), 60)
    assert (
        browser.find_element("css selector", "#live-status a")
        .get_attribute("href")
        .endswith("/overview")
    )


def requested(board: Dashboard, method: str, path: str, **headers: str) -> HTTPResponse:
    """Send a request to a dashboard over HTTP, without following a redirect."""
    connection = HTTPConnection("127.0.0.1", board.access.port, timeout=30)
    body = headers.pop("body", None)
    connection.request(method, path, body, headers)
    return connection.getresponse()


def page_at_root(board: Dashboard) -> str:
    """Sign in at the root address as a browser does, and return the page that is there."""
    signed_in = requested(board, "GET", f"/?token={board.access.token}")
    assert (signed_in.status, signed_in.headers["Location"]) == (302, "/")
    cookie = signed_in.headers["Set-Cookie"].partition(";")[0]
    assert requested(board, "GET", "/", Cookie=cookie).status == 200
    names = [
        ("links", "children"),
        ("page", "children"),
        ("title", "data"),
        ("failure", "children"),
    ]
    outputs = [{"id": name, "property": value} for name, value in names]
    body = {
        "output": f"..{'...'.join(f'{name}.{value}' for name, value in names)}..",
        "outputs": outputs,
        "inputs": [
            {"id": "url", "property": "pathname", "value": "/"},
            {"id": "url", "property": "search", "value": ""},
        ],
        "changedPropIds": ["url.pathname"],
    }
    own_page = {"Origin": f"http://127.0.0.1:{board.access.port}", "Cookie": cookie}
    own_page |= {"Content-Type": "application/json", "body": json.dumps(body)}
    answer = requested(board, "POST", "/_dash-update-component", **own_page)
    assert answer.status == 200
    return answer.read().decode()


def test_the_root_of_a_single_live_run_is_its_live_page(
    target: subprocess.Popen[str], tmp_path: Path
) -> None:
    """The root of a folder is the list of runs, also while one of them is recorded."""
    out = tmp_path / "live.perfscope"
    recording = SteeredRecording(target.pid, out, ["--follow"])
    recording.wait_for_run_folder()
    watch = RunWatch(out, alive=lambda: recording.running)
    live = Live(watch, recording)
    boards = [Dashboard(root, port=0, live=live) for root in (out, tmp_path)]
    watch.start()
    try:
        single, folder = map(page_at_root, boards)
    finally:
        watch.close()
        for board in boards:
            board.close()
        recording.close()
    assert '"live-answer"' in single and "run-list" not in single
    assert '"live-answer"' not in folder
