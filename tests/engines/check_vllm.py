"""vLLM on a CPU, in four states: attached to from outside under load, it has the right diagnosis.

`make test-engines` installs it first; it is not part of `make test`.
"""

import http.client
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.engines.poisson_load import PoissonLoad
from tests.engines.set_up_vllm import engines_folder
from tests.serving.metrics_server import unused_port
from tests.target_processes import perfscope

START_S = 240.0
RECORDED_S = 30


@contextmanager
def vllm(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Yield a vLLM server that answers, and its port."""
    engines, port = engines_folder(), unused_port()
    program = engines / "vllm-env" / "bin"
    usual = ("--host", "127.0.0.1", "--port", str(port), "--enforce-eager", "--max-model-len")
    command = [program / "python", program / "vllm", "serve", engines / "model", *usual, "512"]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    environment |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    with open(folder / "vllm.log", "wb") as log:
        server = subprocess.Popen(
            [*map(str, command), "--dtype", "bfloat16", *options],
            stdout=log,
            stderr=log,
            cwd=folder,
            env=environment,
        )
        try:
            wait_until_it_answers(server, port, folder / "vllm.log")
            yield server, port
        finally:
            server.terminate()
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def wait_until_it_answers(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until the server is up; fail with its log if it ends."""
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s:
        assert server.poll() is None, log.read_text()[-3000:]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.5)
        finally:
            connection.close()
    raise AssertionError(log.read_text()[-3000:])


def diagnose(pid: int, folder: Path) -> dict[str, Any]:
    """Attach from outside for a while, and return the diagnosis."""
    out = folder / "run"
    options = ("--depth", "observe", "--duration", str(RECORDED_S), "--out", out, "--json")
    result = subprocess.run(perfscope("attach", str(pid), *options), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize(
    ("options", "per_second", "output", "expected"),
    [
        (("--max-num-seqs", "1"), 8.0, 30, ("queueing", "admission-limit")),
        (("--max-num-seqs", "32"), 5.0, 30, ("healthy", None)),
        (("--num-gpu-blocks-override", "12"), 40.0, 30, ("kv-cache-pressure", None)),
        ((), 0.2, 30, ("healthy", None)),
    ],
    ids=["admission limit", "healthy under load", "preemption", "light load"],
)
def test_states_of_vllm(
    options: tuple[str, ...],
    per_second: float,
    output: int,
    expected: tuple[str, str | None],
    tmp_path: Path,
) -> None:
    model = str(engines_folder() / "model")
    with vllm(tmp_path, *options) as (server, port):
        with PoissonLoad(port, model, per_second, output=output) as load:
            time.sleep(5.0)
            found = diagnose(server.pid, tmp_path)
        latencies = sorted(load.latencies_s)
    p50 = latencies[len(latencies) // 2] if latencies else None
    print(json.dumps({"client": [len(latencies), load.failed, p50], **found["requests"]}))
    assert load.failed == 0
    verdict = found["verdict"]
    assert (verdict["id"], verdict["cause"]) == expected, verdict
    on_requests = [each["id"] for each in found["findings"] if each["scope"] == "requests"]
    assert on_requests == ([] if expected[0] == "healthy" else [expected[0]])
