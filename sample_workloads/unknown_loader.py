"""Verdict: input-bound/unknown-loader. An inference loop loads each input before the model call."""

import itertools
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

from sample_workloads.images import WIDTH, RemoteImages, open_store
from sample_workloads.training import GPU_VARIATIONS, Meter, device, make_layers, parse_arguments

SIDE = 192
LATENCY_S = 0.001
BATCH, CROPS = 12, 6
THREADS, PREFETCHED = 4, 8


def load_batch(data: RemoteImages, number: int) -> torch.Tensor:
    """Return the inputs of one call of the model."""
    first = number * BATCH
    return torch.stack([data[index][0] for index in range(first, first + BATCH)])


def load_on_demand(data: RemoteImages) -> Iterator[torch.Tensor]:
    """Yield batches, each loaded when it is needed."""
    for number in itertools.count():
        yield load_batch(data, number)


def prefetch(data: RemoteImages) -> Iterator[torch.Tensor]:
    """Yield batches that threads load while the model runs; they hardly need the GIL."""
    with ThreadPoolExecutor(THREADS) as pool:
        pending = deque(pool.submit(load_batch, data, number) for number in range(PREFETCHED))
        for number in itertools.count(PREFETCHED):
            pending.append(pool.submit(load_batch, data, number))
            yield pending.popleft().result()


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    data = RemoteImages(open_store(SIDE, LATENCY_S), SIDE)
    model = make_layers(WIDTH, 12).to(device()).eval()
    crops = CROPS * (GPU_VARIATIONS if device().type == "cuda" else 1)
    inputs = prefetch(data) if args.fix else load_on_demand(data)
    meter = Meter(args)
    with torch.inference_mode():
        while not meter.done():
            began = time.monotonic()
            images = next(inputs)
            waited = time.monotonic() - began
            scores = model(images.to(device()).repeat(crops, 1))
            scores.argmax(1)
            meter.step(waited)


if __name__ == "__main__":
    main()
