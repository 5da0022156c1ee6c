"""Attaching to an engine: its page is found from its process tree, and read as its user."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perfscope.agent.engine_metrics.engine_command import recognize_engine
from perfscope.agent.engine_metrics.engine_process import find_engine
from tests.safety.other_user import NOBODY, PYTHON_FOR_ALL, folder_of_nobody, needs_root
from tests.serving.engine_pages import Traffic, vllm_page
from tests.serving.engine_program import PACKAGES, TEXT
from tests.serving.metrics_server import growing_page_server, unused_port, url_of
from tests.target_processes import perfscope, until

SECRET = "sk-planted-secret-of-the-engine"


@dataclass
class StartedEngine:
    """A running process that looks like an engine."""

    process: subprocess.Popen[str]
    worker: int
    port: int
    log: Path

    def requests(self) -> list[tuple[int, str]]:
        """Return the uid and the path of each request so far."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(int(line.split()[0]), line.split()[1]) for line in lines]


Start = Callable[..., StartedEngine]


def start_engine(
    folder: Path, *options: str, python: str = sys.executable, **how: Any
) -> StartedEngine:
    """Start an engine in `folder` on a free port."""
    program, port = folder / "vllm", unused_port()
    program.write_text(TEXT.replace("\\\\n", "\\n"))
    program.chmod(0o755)
    log = folder / "log"
    words = ["serve", "m", "--port", str(port), "--api-key", SECRET, "--log", str(log), *options]
    process = subprocess.Popen(
        [python, "-I", str(program), *words],
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        **how,
    )
    assert process.stdout is not None
    return StartedEngine(process, int(process.stdout.readline()), port, log)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts an engine, which is ended after the test."""
    started: list[StartedEngine] = []

    def begin(*options: str, **how: Any) -> StartedEngine:
        started.append(start_engine(how.pop("folder", tmp_path), *options, **how))
        return started[-1]

    yield begin
    for engine in started:
        engine.process.kill()
        engine.process.communicate()


def attach(pid: int, out: Path, *options: str, seconds: int = 6) -> dict[str, Any]:
    """Attach from outside and return the diagnosis."""
    arguments = ("--duration", str(seconds), "--depth", "observe", "--out", out, "--json", *options)
    result = subprocess.run(
        perfscope("attach", str(pid), *arguments), capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def source(found: dict[str, Any]) -> dict[str, Any] | None:
    """Return the source of the metrics, None where it was not recorded."""
    return next((each for each in found["sources"] if each["name"] == "engine-metrics"), None)


def test_the_page_of_the_attached_engine_is_read(start: Start, tmp_path: Path) -> None:
    engine = start("--max-num-seqs", "1")
    found = attach(engine.process.pid, tmp_path / "run")
    assert found["workload"] == "server"
    assert found["verdict"]["cause"] == "admission-limit"
    assert found["requests"]["server"]["process"] == 0
    assert found["requests"]["server"]["running_limit"] == 1.0
    assert {path for _, path in engine.requests()} == {"/metrics"}
    assert "blocking-call" not in [each["id"] for each in found["findings"]]
    written = b"".join(path.read_bytes() for path in tmp_path.glob("run/streams/engine*/*"))
    assert written and SECRET.encode() not in written


def test_grammars_on_the_loop_of_an_engine_are_seen_in_its_stacks(
    start: Start, tmp_path: Path
) -> None:
    for name, text in PACKAGES.items():
        path = tmp_path / "site-packages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    engine = start("--grammars", "--max-num-seqs", "64")
    found = attach(engine.process.pid, tmp_path / "run", seconds=12)
    case = next(each for each in found["findings"] if each["id"] == "host-bound-decode")
    assert case["actions"][0]["id"] == "repeat-schemas"
    assert 0.4 < case["share"] < 0.9
    [worker] = case["processes"]
    assert found["processes"][worker]["pid"] == engine.worker


def test_top_shows_the_requests_of_an_engine(start: Start) -> None:
    engine = start()
    words = perfscope("top", str(engine.process.pid), "--json", "--count", "3", "--interval", "2")
    result = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    samples = [json.loads(line) for line in result.stdout.splitlines()]
    process = next(each for each in samples[-1]["processes"] if each["pid"] == engine.process.pid)
    assert process["requests"]["engine"] == "vllm"
    assert process["requests"]["per_s"] == pytest.approx(20.0, rel=0.5)
    assert (process["requests"]["running"], process["requests"]["waiting"]) == (1.0, 7.0)
    assert process["requests"]["ttft_ms"] is None  # its page has no histograms
    assert {path for _, path in engine.requests()} == {"/metrics"}


def test_a_worker_leads_to_the_page_of_its_engine(start: Start, tmp_path: Path) -> None:
    engine = start()
    found = find_engine(engine.worker)
    assert found is not None
    assert (found.pid, found.engine.engine) == (engine.process.pid, "vllm")


def test_no_metrics_sends_nothing(start: Start, tmp_path: Path) -> None:
    engine = start()
    found = attach(engine.process.pid, tmp_path / "run", "--no-metrics")
    assert (found["requests"], source(found), engine.requests()) == (None, None, [])


def test_a_named_page_replaces_that_of_the_engine(start: Start, tmp_path: Path) -> None:
    engine = start()
    with growing_page_server(vllm_page(Traffic(running=2, per_second=3))) as other:
        found = attach(engine.process.pid, tmp_path / "run", "--metrics", url_of(other))
        assert found["requests"]["server"]["url"] == url_of(other)
        assert found["requests"]["server"]["running_mean"] == 2.0
    assert engine.requests() == []


def test_a_port_that_another_process_has_is_not_asked(start: Start, tmp_path: Path) -> None:
    with growing_page_server(vllm_page(Traffic(running=2))) as squatter:
        port = str(squatter.server_address[1])
        engine = start("--deaf", "--port", port)
        found = attach(engine.process.pid, tmp_path / "run")
        assert squatter.requests == []
    status = source(found)
    assert status is not None and status["status"] == "unavailable"
    assert "--metrics" in status["reason"]


def test_an_engine_without_metrics_names_the_option(start: Start, tmp_path: Path) -> None:
    words = ["python", "-m", "sglang.launch_server", "--model-path", "m", "--port", "1"]
    found = recognize_engine(words)
    assert found is not None and found.missing_option == "--enable-metrics"
    assert recognize_engine([*words, "--enable-metrics"]) is not None


def test_a_page_that_ends_leaves_the_rest_of_the_diagnosis(start: Start, tmp_path: Path) -> None:
    engine = start()
    nobody = f"http://127.0.0.1:{unused_port()}/metrics"
    found = attach(engine.process.pid, tmp_path / "run", "--metrics", nobody)
    status = source(found)
    assert status is not None and status["status"] == "unavailable" and nobody in status["reason"]
    assert found["requests"] is None
    assert "cpu-throttled" in [*found["clear"], *(each["id"] for each in found["not_checked"])]


@needs_root
def test_requests_have_the_uid_of_the_target(tmp_path: Path) -> None:
    with folder_of_nobody() as folder:
        engine = start_engine(folder, python=PYTHON_FOR_ALL or "", user=NOBODY, group=NOBODY)
        try:
            found = attach(engine.process.pid, tmp_path / "run")
            until(lambda: engine.requests())
            assert {uid for uid, _ in engine.requests()} == {NOBODY}
            assert found["verdict"]["cause"] == "admission-limit"
        finally:
            engine.process.kill()
            engine.process.communicate()


def test_no_reader_is_left(start: Start, tmp_path: Path) -> None:
    engine = start()
    attach(engine.process.pid, tmp_path / "run")
    asked = len(engine.requests())
    parents = [Path(f"/proc/{pid}/cmdline") for pid in os.listdir("/proc") if pid.isdecimal()]
    lines = [path.read_bytes() for path in parents if path.exists()]
    assert not any(str(tmp_path / "run").encode() in line for line in lines)
    assert asked >= 2


@pytest.mark.parametrize(
    ("words", "engine", "port", "settings"),
    [
        (
            "/usr/bin/python3 /opt/bin/vllm serve m --max-num-seqs=8 --port=9000 --enforce-eager",
            "vllm",
            9000,
            {("max-running", "--max-num-seqs"): "8", ("no-graphs", "--enforce-eager"): "on"},
        ),
        (
            "python -m vllm.entrypoints.openai.api_server --max_num_batched_tokens 2048",
            "vllm",
            8000,
            {("max-batched-tokens", "--max-num-batched-tokens"): "2048"},
        ),
        (
            "python -m sglang.launch_server --mem-fraction-static 0.8 --cuda-graph-max-bs 64",
            "sglang",
            30000,
            {
                ("memory-share", "--mem-fraction-static"): "0.8",
                ("graph-batch", "--cuda-graph-max-bs"): "64",
            },
        ),
        (
            "./llama-server -m m.gguf -np 4 --metrics",
            "llama-cpp",
            8080,
            {("max-running", "-np"): "4"},
        ),
        ("text-generation-launcher --port 80", "tgi", 80, {}),
        ("tritonserver --model-repository=/m --metrics-port=9002", "triton", 9002, {}),
        (
            "trtllm-serve m --max_batch_size 16",
            "tensorrt-llm",
            8000,
            {("max-running", "--max_batch_size"): "16"},
        ),
    ],
)
def test_engines_are_recognized_by_their_command_line(
    words: str, engine: str, port: int, settings: dict[tuple[str, str], str]
) -> None:
    found = recognize_engine(words.split())
    assert found is not None
    assert (found.engine, found.port, found.settings) == (engine, port, settings)


@pytest.mark.parametrize(
    "words", ["python train.py vllm", "vllm bench serve", "python -m http.server"]
)
def test_other_programs_are_not_engines(words: str) -> None:
    assert recognize_engine(words.split()) is None
