"""ill: input-bound/unknown-loader. An inference loop that fetches and decodes each input itself
before it calls the model.
"""

import itertools
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

from sample_workloads.images import WIDTH, RemoteImages, open_store
from sample_workloads.training import GPU_VARIATIONS, Meter, arguments, device, layers

SIDE = 192
LATENCY_S = 0.001
BATCH, CROPS = 12, 6
THREADS, AHEAD = 4, 8


def batch(data: RemoteImages, number: int) -> torch.Tensor:
    """The inputs of one call."""
    return torch.stack([data[index][0] for index in range(number * BATCH, (number + 1) * BATCH)])


def in_line(data: RemoteImages) -> Iterator[torch.Tensor]:
    """Each batch when it is asked for."""
    for number in itertools.count():
        yield batch(data, number)


def ahead(data: RemoteImages) -> Iterator[torch.Tensor]:
    """Batches that threads make while the model works (neither the network nor zlib holds the
    interpreter).
    """
    with ThreadPoolExecutor(THREADS) as pool:
        coming = deque(pool.submit(batch, data, number) for number in range(AHEAD))
        for number in itertools.count(AHEAD):
            coming.append(pool.submit(batch, data, number))
            yield coming.popleft().result()


def main() -> None:
    args = arguments(__doc__)
    data = RemoteImages(open_store(SIDE, LATENCY_S), SIDE)
    model = layers(WIDTH, 12).to(device()).eval()
    crops = CROPS * (GPU_VARIATIONS if device().type == "cuda" else 1)
    meter, inputs = Meter(args), ahead(data) if args.fix else in_line(data)
    with torch.inference_mode():
        while not meter.done():
            asked = time.monotonic()
            images = next(inputs)
            waited = time.monotonic() - asked
            model(images.to(device()).repeat(crops, 1)).argmax(1)
            meter.step(waited)


if __name__ == "__main__":
    main()
