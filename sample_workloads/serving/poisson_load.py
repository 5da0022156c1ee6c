"""An open-loop load generator: requests at random times, whether or not earlier ones are answered.

It runs in a process and on a clock of its own, sends to this machine only, and ends after a number
of requests or a time. A latency counts from the time at which the request was due.
Usage: `python -m sample_workloads.serving.poisson_load PORT --rate 50 --count 2000 --seconds 60`.
"""

import argparse
import asyncio
import json
import random
import time
from pathlib import Path

from sample_workloads.serving.model import TOKENS, VOCABULARY

MOST_OPEN = 400
"""More requests than this are not open at once; beyond it a request is counted as not sent."""


class Load:
    """The requests sent so far: latencies, and times by CLOCK_MONOTONIC, in seconds."""

    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self.random = random.Random(seed)
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.latencies: list[float] = []
        self.times: list[tuple[float, float]] = []
        self.open = self.failed = self.unsent = self.printed = 0
        self.printed_at = time.monotonic()

    async def send(self, due: float) -> None:
        """Send one request and wait for its answer."""
        tokens = [self.random.randrange(VOCABULARY) for _ in range(TOKENS)]
        body = json.dumps({"tokens": tokens}).encode()
        head = (
            "POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self.open += 1
        try:
            if not self.idle:
                self.idle.append(await asyncio.open_connection("127.0.0.1", self.port))
            reader, writer = self.idle.pop()
            sent = time.monotonic()
            writer.write(head.encode() + body)
            head = await read_answer(reader)
            answered = time.monotonic()
            self.latencies.append(answered - due)
            self.times.append((sent, answered))
            self.failed += head.split()[1] != "200"
            if head.startswith("http/1.1") and "connection: close" not in head:
                self.idle.append((reader, writer))
            else:
                writer.close()
        except (OSError, EOFError):
            self.failed += 1
        finally:
            self.open -= 1

    def print_measurements(self) -> None:
        """Print the mean latency of the requests answered since the last line, as JSON."""
        now, recent = time.monotonic(), self.latencies[self.printed :]
        if recent:
            measured = {
                "steps": len(self.latencies),
                "steps_per_s": round(len(recent) / (now - self.printed_at), 2),
                "step_ms": round(1e3 * sum(recent) / len(recent), 3),
            }
            print(json.dumps(measured), flush=True)
        self.printed, self.printed_at = len(self.latencies), now


async def read_answer(reader: asyncio.StreamReader) -> str:
    """Return the lines before the body of an answer, in lower case, after reading the body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
    await reader.readexactly(int(length.split(":")[1]))
    return head


async def generate(args: argparse.Namespace) -> Load:
    """Send requests until `args` say that it is enough, and wait for their answers."""
    load, began = Load(args.port, args.seed), time.monotonic()
    due, running = began, set()
    for _ in range(args.count):
        due += load.random.expovariate(args.rate)
        if due > began + args.seconds:
            break
        await asyncio.sleep(max(due - time.monotonic(), 0.0))
        if load.open >= MOST_OPEN:
            load.unsent += 1
        else:
            task = asyncio.create_task(load.send(due))
            running.add(task)
            task.add_done_callback(running.discard)
        if time.monotonic() >= load.printed_at + 1.0:
            load.print_measurements()
    await asyncio.gather(*running)
    load.print_measurements()
    return load


def main() -> None:
    """Generate load, and write the latencies to a file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--rate", type=float, required=True, help="requests per second")
    parser.add_argument("--count", type=int, default=10**6)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, help="write counts and times to this file, as JSON")
    args = parser.parse_args()
    load = asyncio.run(generate(args))
    if args.log is not None:
        counts = {"failed": load.failed, "unsent": load.unsent}
        times = {"latencies_s": load.latencies, "sent_answered_s": load.times}
        args.log.write_text(json.dumps({**counts, **times}))


if __name__ == "__main__":
    main()
