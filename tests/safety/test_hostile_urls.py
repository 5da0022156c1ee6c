"""Requests to the dashboard with mutated addresses, headers and bodies: they cause no traceback and
lead to no file outside of the folder.
"""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfscope.errors import UsageError
from perfscope.traces.folder_contents import contents
from perfscope.ui.dashboard.open_runs import Library
from perfscope.ui.dashboard.serve import Dashboard
from tests.safety.hostile_requests import INSIDE, OUTSIDE, Board, ask, faults, renamed
from tests.ui.dashboard_client import PORT
from tests.ui.kineto_files import small_trace
from tests.ui.recorded import recorded_run

COUNT = 700
FORM = b"POST /sign-in/token HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nOrigin: http://127.0.0.1:PORT\r\n"


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    made = Board(tmp_path_factory.mktemp("home"))
    yield made
    made.close()


def test_unchanged_requests_are_answered(board: Board) -> None:
    """The mutated requests must not be refused for another reason."""
    for asking in board.seeds:
        status, why = ask(board, asking, True)
        expected = (
            {405}
            if "/sign-in/token" in asking.path
            else {404}
            if asking.path.startswith(("/assets", "/static"))
            else {200, 204}
        )
        linked = (
            "linked" in asking.path
            and asking.path.startswith(("/timeline", "/run"))
            and asking.path.count("/") in (2, 3)
        )
        assert why is None and status in (
            {*expected, 401}
            if asking.method == "POST"
            else {*expected, 404}
            if linked
            else {200, *expected}
        ), asking


def test_mutated_requests_get_a_response_without_a_traceback(board: Board) -> None:
    answered, wrong = faults(board, COUNT, seed=1)
    assert wrong == []
    asked = sum(count for name, count in answered.items() if name.startswith("known"))
    taken = sum(answered[f"known {status}"] for status in (200, 204, 404))
    assert (
        taken >= 0.3 * asked >= 0.1 * COUNT
        and answered["unknown 401"] > 0
        and answered["known 400"] > 0
    )


def test_a_link_in_the_folder_of_runs_is_not_followed(board: Board) -> None:
    ids = {run.id: run.leads_out for run in board.library.runs()}
    assert ids == {"gpu.json": False, "train.perfscope": False, "linked.perfscope": True}
    with pytest.raises(UsageError, match="leads out"):
        board.library.get("linked.perfscope")
    assert board.verdicts.of(board.library.runs())["linked.perfscope"].error is not None


def test_a_run_that_becomes_a_link_while_the_dashboard_is_open_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    small_trace(tmp_path / "secret.json", renamed(OUTSIDE))
    path = small_trace(tmp_path / "runs" / "a.json", renamed(INSIDE))
    library = Library(tmp_path / "runs")
    assert [run.id for run in library.runs()] == ["a.json"]
    path.unlink()
    path.symlink_to(tmp_path / "secret.json")
    with pytest.raises(UsageError, match="leads out"):
        library.get("a.json")


@pytest.mark.parametrize("kind", ["manifest", "ranks", "ring"])
def test_links_out_of_the_folder_are_detected(tmp_path: Path, kind: str) -> None:
    root, outside = tmp_path / "runs", tmp_path / "outside"
    for folder in (root, outside):
        folder.mkdir()
    if kind == "ranks":
        small_trace(outside / "x.json")
        (root / "job").mkdir()
        for name in ("rank0.json", "rank1.json"):
            small_trace(root / "job" / name)
        (root / "job" / "rank2.json").symlink_to(outside / "x.json")
        found = {entry.name: entry.leads_out for entry in contents(root)}
        assert found == {"job/ (2 ranks)": True, "job/rank0.json": False, "job/rank1.json": False}
        return
    recorded_run(root / "a.perfscope")
    if kind == "manifest":
        os.rename(root / "a.perfscope" / "manifest.json", outside / "manifest.json")
        (root / "a.perfscope" / "manifest.json").symlink_to(outside / "manifest.json")
        assert contents(root) == [], "a folder without a manifest is not a run folder"
        return
    (root / "a.perfscope" / "ring").symlink_to(root / "a.perfscope" / "ring")
    assert [entry.leads_out for entry in contents(root)] == [True]


def test_the_names_of_a_job_cannot_change_the_address_of_a_page(tmp_path: Path) -> None:
    for host in ("a", "b"):
        recorded_run(tmp_path / f"{host}.perfscope")
        manifest = tmp_path / f"{host}.perfscope" / "manifest.json"
        text = manifest.read_text()
        whole = {**json.loads(text), "job_id": "../../x?y", "host": host}
        manifest.write_text(json.dumps(whole))
    jobs = [entry.id for entry in contents(tmp_path) if len(entry.parts) == 2]
    assert len(jobs) == 1 and not set(jobs[0]) & set("/?#%\\")


@pytest.mark.parametrize(
    "line",
    [
        b"GET http://[ HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n",
        b"GET http://127.0.0.1:PORT/?token=TOKEN HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
        b"GET /?token=TOKEN\r\n\r\n",
        b"GET /?token=TOKEN HTTP/1.1 HTTP/1.1\r\n\r\n",
        FORM + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        FORM + b"Content-Length: 99999999\r\n\r\ntoken=x",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nHost: evil\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /\x1b[2J%1b[2J?token=x HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n",
    ],
)
def test_a_broken_request_is_refused_and_never_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], line: bytes
) -> None:
    """Some requests contain the token, so that a log would contain it."""
    small_trace(tmp_path / "gpu.json", renamed(INSIDE))
    board = Dashboard(tmp_path, port=0)
    try:
        sent = line.replace(b"PORT", str(board.access.port).encode()).replace(
            b"TOKEN", str(board.access.token).encode()
        )
        with socket.create_connection(("127.0.0.1", board.access.port), 10) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := connection.recv(1 << 16):
                    answer += piece
    finally:
        board.close()
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""
    assert (
        INSIDE.encode() not in answer
        and b"Werkzeug" not in answer
        and str(PORT).encode() not in answer[:20]
    )
    assert (
        b" 200 " not in answer[:20] and b" 500 " not in answer[:20] and b" 302 " not in answer[:20]
    )
