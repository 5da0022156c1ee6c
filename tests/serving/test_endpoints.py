"""Reading endpoints over real sockets: what is sent, and endpoints that fail."""

import gzip
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.serving.engine_pages import Traffic, vllm_page
from tests.serving.metrics_server import (
    Answer,
    answering_server,
    growing_page_server,
    page_answer,
    send,
    unused_port,
    url_of,
)
from tests.target_processes import perfscope

ADMISSION = vllm_page(
    Traffic(running=1, waiting=7, kv=0.01, per_second=20, queue_s=0.35, e2e_s=0.4)
)


def analyze(folder: Path, *arguments: str, seconds: str = "4") -> subprocess.CompletedProcess[str]:
    """Run `perfscope analyze` on addresses, and return how it ended."""
    out = folder / "run"
    return subprocess.run(
        perfscope("analyze", *arguments, "--duration", seconds, "--out", out, "--json"),
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
    )


def diagnosed(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the diagnosis that was printed."""
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_page_is_read_with_plain_gets_and_gives_the_same_answer_again(tmp_path: Path) -> None:
    with growing_page_server(ADMISSION) as server:
        first = diagnosed(analyze(tmp_path, url_of(server)))
        asked = list(server.requests)
    assert first["findings"][0]["id"] == "queueing"
    assert first["findings"][0]["cause"] == "admission-limit"
    assert first["requests"]["rate_per_s"] == pytest.approx(20.0, rel=0.2)
    assert {(method, path) for method, path, _ in asked} == {("GET", "/metrics")}
    assert 3 <= len(asked) <= 25
    for _, _, headers in asked:
        assert not {"Cookie", "Authorization", "Referer"} & headers.keys()
    again = subprocess.run(
        perfscope("analyze", tmp_path / "run", "--json"), capture_output=True, text=True
    )
    second = diagnosed(again)
    assert second["requests"] == first["requests"]
    assert second["findings"] == first["findings"]
    assert second["verdict"] == first["verdict"]


def test_the_path_is_metrics_where_none_is_given(tmp_path: Path) -> None:
    with growing_page_server(ADMISSION) as server:
        diagnosed(analyze(tmp_path, url_of(server, "")))
        assert {path for _, path, _ in server.requests} == {"/metrics"}


def test_replicas_are_rows_of_one_diagnosis(tmp_path: Path) -> None:
    light = vllm_page(Traffic(running=0.0, per_second=1))
    with growing_page_server(ADMISSION) as busy, growing_page_server(light) as idle:
        found = diagnosed(analyze(tmp_path, url_of(busy), url_of(idle)))
    assert found["findings"][0]["cause"] == "uneven-replicas"
    assert [row["server"]["url"] for row in found["requests"]["per_server"]] == [
        url_of(busy),
        url_of(idle),
    ]


def slow(handler: BaseHTTPRequestHandler, seconds: float) -> None:
    """Answer after a time that nobody waits for."""
    time.sleep(8.0)


def dripping(handler: BaseHTTPRequestHandler, seconds: float) -> None:
    """Send a header, then a byte per tenth of a second."""
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b"#")
        handler.wfile.flush()
        time.sleep(0.1)


def infinite(handler: BaseHTTPRequestHandler, seconds: float) -> None:
    """Send lines without an end."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b'vllm:num_requests_running{engine="0"} 1\n' * 1000)


def cut_off(handler: BaseHTTPRequestHandler, seconds: float) -> None:
    """Announce a page and send half of it."""
    body = ADMISSION(seconds).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])
    handler.wfile.flush()
    handler.connection.close()


def cut_between_lines(handler: BaseHTTPRequestHandler, seconds: float) -> None:
    """Announce a page and send its first lines."""
    body = ADMISSION(seconds).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: body.rindex(b"\n", 0, -1) + 1])
    handler.wfile.flush()
    handler.connection.close()


def compressed(handler: BaseHTTPRequestHandler, seconds: float) -> None:
    """Send a compressed page, which was not asked for."""
    send(handler, gzip.compress(ADMISSION(seconds).encode()), Content_Encoding="gzip")


def half_a_line(handler: BaseHTTPRequestHandler, seconds: float) -> None:
    """Send a page that ends in the middle of a line, without its length."""
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(ADMISSION(seconds).encode()[:-30])


def not_http(handler: BaseHTTPRequestHandler, seconds: float) -> None:
    """Answer in another protocol."""
    handler.wfile.write(b"\x00\x01\x02 SSH-2.0-OpenSSH\r\n\r\n")


def locked(handler: BaseHTTPRequestHandler, seconds: float) -> None:
    """Ask for credentials."""
    send(handler, b"no\n", 401, WWW_Authenticate="Bearer")


def website(handler: BaseHTTPRequestHandler, seconds: float) -> None:
    """Answer with a page for people."""
    send(handler, b"<html><body>It works!</body></html>\n")


BROKEN: dict[str, Answer] = {
    "slow": slow,
    "dripping": dripping,
    "infinite": infinite,
    "cut off": cut_off,
    "cut between lines": cut_between_lines,
    "compressed": compressed,
    "half a line": half_a_line,
    "not HTTP": not_http,
    "401": locked,
    "503": page_answer(ADMISSION, 503),
    "not an engine": website,
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_endpoint_that_fails_is_one_line_and_exit_code_2(name: str, tmp_path: Path) -> None:
    with answering_server(BROKEN[name]) as server:
        result = analyze(tmp_path, url_of(server))
        assert_refused(result, tmp_path, url_of(server))


def assert_refused(result: subprocess.CompletedProcess[str], folder: Path, url: str) -> None:
    """Fail unless one line says that an address cannot be read, and nothing is left."""
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1 and url in result.stderr
    assert "Traceback" not in result.stderr
    assert not (folder / "run").exists()


def test_nothing_that_listens_is_one_line(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{unused_port()}/metrics"
    assert_refused(analyze(tmp_path, url), tmp_path, url)


def test_https_to_a_server_without_tls_is_one_line(tmp_path: Path) -> None:
    with growing_page_server(ADMISSION) as server:
        url = url_of(server).replace("http:", "https:")
        assert_refused(analyze(tmp_path, url), tmp_path, url)


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    with growing_page_server(ADMISSION) as other:

        def redirect(handler: BaseHTTPRequestHandler, seconds: float) -> None:
            send(handler, b"", 302, Location=url_of(other))

        with answering_server(redirect) as server:
            assert_refused(analyze(tmp_path, url_of(server)), tmp_path, url_of(server))
        assert other.requests == []


def test_a_proxy_of_the_environment_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with growing_page_server(ADMISSION) as proxy, growing_page_server(ADMISSION) as server:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, url_of(proxy, ""))
        monkeypatch.delenv("no_proxy", raising=False)
        diagnosed(analyze(tmp_path, url_of(server)))
        assert proxy.requests == []


def damaged(handler: BaseHTTPRequestHandler, seconds: float) -> None:
    """Answer with two lines that no parser reads."""
    body = ADMISSION(seconds) + 'vllm:num_preemptions_total{engine="0} 7\n' * 2
    send(handler, body.encode())


def test_lines_that_cannot_be_read_are_reported(tmp_path: Path) -> None:
    with answering_server(damaged) as server:
        found = diagnosed(analyze(tmp_path, url_of(server)))
    source = next(each for each in found["sources"] if each["name"] == "engine-metrics")
    assert source["status"] == "partial" and source["reason"].endswith(": 2")


def failing_later(handler: BaseHTTPRequestHandler, seconds: float) -> None:
    """Answer for some seconds, then with an error."""
    send(handler, ADMISSION(seconds).encode(), 200 if seconds < 4.0 else 500)


def test_an_endpoint_that_fails_later_is_diagnosed_by_what_was_read(tmp_path: Path) -> None:
    with answering_server(failing_later) as server:
        found = diagnosed(analyze(tmp_path, url_of(server), seconds="6"))
    assert found["findings"][0]["cause"] == "admission-limit"
    source = next(each for each in found["sources"] if each["name"] == "engine-metrics")
    assert source["status"] == "partial" and "HTTP 500" in source["reason"]


@pytest.mark.parametrize(
    "address",
    [
        "http://",
        "http://user:secret@127.0.0.1:1/metrics",
        "http://127.0.0.1:99999/metrics",
        "http://user:secret @127.0.0.1:1/metrics",
        "http://user:secret@127.0.0.1:99999/metrics",
        "http://127.0.0.1:1/a b",
        "http://127.0.0.1\r\nX-Evil: 1/",
        "http://[::1/metrics",
    ],
)
def test_a_bad_address_is_bad_usage(address: str, tmp_path: Path) -> None:
    result = analyze(tmp_path, address)
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert "secret" not in result.stderr and "***" not in result.stderr


def test_paths_and_addresses_are_not_mixed(tmp_path: Path) -> None:
    result = analyze(tmp_path, "http://127.0.0.1:1/metrics", str(tmp_path))
    assert result.returncode == 2


def test_duration_is_an_option_of_addresses(tmp_path: Path) -> None:
    result = analyze(tmp_path, str(tmp_path))
    assert result.returncode == 2 and "--duration" in result.stderr


@pytest.fixture
def stopping(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Yield a reading that would go on for an hour."""
    with growing_page_server(ADMISSION) as server:
        command = perfscope(
            "analyze", url_of(server), "--duration", "1h", "--out", tmp_path / "run"
        )
        process = subprocess.Popen(
            [*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        asked = threading.Event()
        while len(server.requests) < 5:
            asked.wait(0.05)
        yield process
        process.kill()
        process.communicate()


def test_an_interrupted_reading_is_diagnosed(stopping: subprocess.Popen[str]) -> None:
    stopping.send_signal(2)
    out, _ = stopping.communicate(timeout=60)
    assert stopping.returncode == 0
    assert json.loads(out)["requests"]["server"]["readings"] >= 4
