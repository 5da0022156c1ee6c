"""A FastAPI server, run by uvicorn, whose dynamic batcher calls the model.

The batcher waits for up to `window_s` after the first request of a batch, or until it has `largest`
requests. The model runs on a thread of its own.
"""

import argparse
import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import fastapi
import uvicorn
from torch import nn

from sample_workloads.serving.model import WaitingScorer, make_model, score_rows
from sample_workloads.training import parse_arguments


@dataclass(frozen=True)
class BatchSettings:
    """How requests become batches."""

    window_s: float
    largest: int


class Batcher:
    """Collects requests into batches and runs the model on them."""

    def __init__(self, model: nn.Module, settings: BatchSettings) -> None:
        self.model, self.settings = model, settings
        self.waiting: asyncio.Queue[tuple[list[int], asyncio.Future[float]]] = asyncio.Queue()
        self.thread = ThreadPoolExecutor(1, "model")

    async def score(self, tokens: list[int]) -> float:
        """Return the score of one request."""
        answer: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        await self.waiting.put((tokens, answer))
        return await answer

    async def collect(self) -> list[tuple[list[int], "asyncio.Future[float]"]]:
        """Return the next batch."""
        batch = [await self.waiting.get()]
        until = asyncio.get_running_loop().time() + self.settings.window_s
        while len(batch) < self.settings.largest:
            left = until - asyncio.get_running_loop().time()
            try:
                if left > 0.0:
                    batch.append(await asyncio.wait_for(self.waiting.get(), left))
                else:
                    batch.append(self.waiting.get_nowait())
            except (asyncio.TimeoutError, asyncio.QueueEmpty):
                if left <= 0.0:
                    break
        return batch

    async def run(self) -> None:
        """Compute batch after batch."""
        loop = asyncio.get_running_loop()
        while True:
            batch = await self.collect()
            rows = [tokens for tokens, _ in batch]
            scores = await loop.run_in_executor(self.thread, score_rows, self.model, rows)
            for (_, answer), score in zip(batch, scores, strict=True):
                if not answer.cancelled():
                    answer.set_result(score)


def settings_of(args: argparse.Namespace, usual: BatchSettings) -> BatchSettings:
    """Return the settings that the arguments name, else the usual ones of a sample."""
    window_s = usual.window_s if args.window_ms is None else args.window_ms / 1e3
    return BatchSettings(window_s, args.largest or usual.largest)


def model_of(args: argparse.Namespace, layers: int) -> nn.Module:
    """Return the model that the arguments ask for."""
    return make_model(layers) if args.wait_ms is None else WaitingScorer(args.wait_ms)


def make_app(batcher: Batcher) -> fastapi.FastAPI:
    """Return the application: one route that scores a row of tokens."""

    @contextlib.asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
        batches = asyncio.create_task(batcher.run())
        yield
        batches.cancel()

    app = fastapi.FastAPI(lifespan=lifespan)

    @app.post("/score")
    async def score(request: fastapi.Request) -> dict[str, float]:
        tokens = (await request.json())["tokens"]
        return {"score": await batcher.score(tokens)}

    return app


def start_load(port: int, rate: float, args: argparse.Namespace) -> "subprocess.Popen[bytes]":
    """Start the process that sends requests to this server."""
    words = [sys.executable, "-m", "sample_workloads.serving.poisson_load", str(port)]
    words += ["--rate", f"{rate:.3f}", "--count", str(args.steps), "--seconds", str(args.seconds)]
    words += ["--seed", str(args.seed)]
    if args.log is not None:
        words += ["--log", str(Path(args.log).resolve())]
    return subprocess.Popen(words, cwd=Path(__file__).parents[2])


def serve(app: fastapi.FastAPI, rate: float, args: argparse.Namespace) -> None:
    """Serve the application under a load of `rate` requests per second, until that ends."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", access_log=False)
    server = uvicorn.Server(config)

    async def serve_until_loaded() -> None:
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        load = start_load(port, rate, args)
        try:
            while load.poll() is None and not serving.done():
                await asyncio.sleep(0.2)
        finally:
            load.kill()
            server.should_exit = True
        await serving

    asyncio.run(serve_until_loaded())


def parse_server_arguments(description: str | None) -> argparse.Namespace:
    """Return the arguments of the samples, and those of the load."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--seed", type=int, default=0, help="of the times of requests")
    parser.add_argument("--rate", type=float, help="requests per second (default: by the machine)")
    parser.add_argument("--log", help="write the latencies to this file at the end")
    parser.add_argument("--window-ms", type=float, help="wait so long for a batch to fill")
    parser.add_argument("--wait-ms", type=float, help="wait in place of computing, as for a device")
    parser.add_argument("--largest", type=int, help="most requests in a batch")
    known, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    args = parse_arguments(description)
    return argparse.Namespace(**vars(args), **vars(known))
