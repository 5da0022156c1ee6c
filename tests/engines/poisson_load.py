"""Open-loop load on a server on loopback: arrivals of a Poisson process, by a clock of its own."""

import http.client
import json
import random
import threading
import time
from dataclasses import dataclass, field

WORDS = 1000
LONGEST_WAIT_S = 60.0


@dataclass
class PoissonLoad:
    """Requests of `prompt` random tokens for `output` tokens, `per_second` for some seconds."""

    port: int
    model: str
    per_second: float
    prompt: int = 100
    output: int = 30
    latencies_s: list[float] = field(default_factory=list)
    failed: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def __enter__(self) -> "PoissonLoad":
        self.thread = threading.Thread(target=self.send_all, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopped.set()
        assert self.thread is not None
        self.thread.join()

    def send_all(self) -> None:
        """Start requests until the load is stopped, then wait for those that run."""
        rng, running = random.Random(3), []
        while not self.stopped.wait(rng.expovariate(self.per_second)):
            tokens = [rng.randrange(2, WORDS) for _ in range(self.prompt)]
            running.append(threading.Thread(target=self.send, args=(tokens,), daemon=True))
            running[-1].start()
        until_s = time.monotonic() + LONGEST_WAIT_S
        for request in running:
            request.join(max(until_s - time.monotonic(), 0.0))

    def send(self, tokens: list[int]) -> None:
        """Send one request and keep its latency."""
        began_s = time.monotonic()
        body = json.dumps(
            {"model": self.model, "prompt": tokens, "max_tokens": self.output, "ignore_eos": True}
        )
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONGEST_WAIT_S)
            connection.request(
                "POST", "/v1/completions", body, {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            answer.read()
            connection.close()
        except (OSError, http.client.HTTPException):
            self.failed += 1
            return
        if answer.status == 200:
            self.latencies_s.append(time.monotonic() - began_s)
        else:
            self.failed += 1
