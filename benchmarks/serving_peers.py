"""What perfscope, vllm-doctor and InferPilot say about the same metrics of vLLM, at the same time.

    python -m benchmarks.serving_peers --peers /path/to/venv/bin [--seconds 45]

The folder holds the commands `vllm-doctor` and `inferpilot`. Each situation is a page in the names
of vLLM whose counters grow, served on loopback; the pages are those of `tests/serving`, whose rules
and situations were written by the same people. No tool knows the server's process.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.serving.engine_pages import Page, Traffic, vllm_page
from tests.serving.metrics_server import Answer, answering_server, send, url_of
from tests.serving.test_situations import (
    ADMISSION,
    BURSTS,
    FULL_BUT_NOT_WAITING,
    IDLE,
    LIGHT,
    PREFILLS,
    SLOW_TOKENS,
    THRASH,
)

CONTENT_TYPE = "text/plain; version=0.0.4"
HEALTHY = "healthy"


@dataclass(frozen=True)
class Situation:
    """What a server does, and what limits it: the ids that perfscope gives."""

    name: str
    truth: str
    traffic: Traffic


SITUATIONS = (
    Situation("idle", HEALTHY, IDLE),
    Situation("one request at a time, all prompts different", HEALTHY, LIGHT),
    Situation("bursts that are served at once", HEALTHY, BURSTS),
    Situation("256 running, nobody waits", HEALTHY, FULL_BUT_NOT_WAITING),
    Situation("--max-num-seqs 1: 7 wait, KV cache 1 % full", "queueing/admission-limit", ADMISSION),
    Situation("KV cache 97 % full, 1.5 preemptions per second", "kv-cache-pressure", THRASH),
    Situation("8 running, 310 ms per token, nobody waits", "host-bound-decode", SLOW_TOKENS),
    Situation("long prompts delay one token in ten to 600 ms", "prefill-interference", PREFILLS),
)


def page_only(page: Page) -> Answer:
    """Return the answer of a server that has its page and nothing else."""

    def answer(handler: BaseHTTPRequestHandler, seconds: float) -> None:
        if handler.path == "/metrics":
            send(handler, page(seconds).encode(), Content_Type=CONTENT_TYPE)
        else:
            handler.send_error(404)

    return answer


def output_of(command: list[str]) -> str:
    """Return what a command printed, or its last line of errors where it printed nothing."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return done.stdout or f'{{"error": {json.dumps(done.stderr.strip().splitlines()[-1:])}}}'


def answer_of_perfscope(url: str, seconds: int) -> str:
    """Return the findings of perfscope, else its verdict."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "perfscope", "analyze", url, "--json"]
        options = ["--duration", str(seconds), "--out", f"{folder}/metrics.perfscope"]
        answer = json.loads(output_of([*command, *options]))
    if "error" in answer:
        return str(answer["error"])
    found = [
        "/".join(filter(None, (finding["id"], finding["cause"]))) for finding in answer["findings"]
    ]
    verdict = answer["verdict"]
    return f"{verdict['id']} ({verdict['confidence']:.2f}); findings: {', '.join(found) or 'none'}"


def answer_of_vllm_doctor(command: Path, url: str) -> str:
    """Return the findings of vllm-doctor with their severity and confidence."""
    answer = json.loads(output_of([str(command), "diagnose", url, "-o", "json"]))
    if "checks" not in answer:
        return str(answer)
    found = [check["finding"] for check in answer["checks"] if check["finding"]]
    texts = [f"{each['title']} ({each['severity']}, {each['confidence']})" for each in found]
    return f"{answer['health']}; findings: {', '.join(texts) or 'none'}"


def answer_of_inferpilot(command: Path, url: str, seconds: int) -> str:
    """Return the verdict of InferPilot and its lever."""
    options = ["--url", url, "--interval", str(seconds), "--json"]
    answer = json.loads(output_of([str(command), "doctor", *options]))
    return f"{answer.get('verdict', answer)}; lever: {answer.get('recommended_lever')}"


def compare(situation: Situation, peers: Path, seconds: int) -> str:
    """Return what each tool says about a situation."""
    with (
        answering_server(page_only(vllm_page(situation.traffic))) as server,
        ThreadPoolExecutor() as pool,
    ):
        url = url_of(server)
        answers = {
            "perfscope": pool.submit(answer_of_perfscope, url, seconds),
            "vllm-doctor": pool.submit(answer_of_vllm_doctor, peers / "vllm-doctor", url),
            "InferPilot": pool.submit(answer_of_inferpilot, peers / "inferpilot", url, seconds),
        }
        lines = [f"  {name:12} {answer.result()}" for name, answer in answers.items()]
    return "\n".join([f"{situation.name}: {situation.truth}", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, required=True, help="folder with their commands")
    parser.add_argument("--seconds", type=int, default=45, help="how long pages are read")
    args = parser.parse_args()
    for situation in SITUATIONS:
        print(compare(situation, args.peers, args.seconds), flush=True)


if __name__ == "__main__":
    main()
