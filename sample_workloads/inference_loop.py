"""ill: input-bound/unknown-loader. An inference loop that decodes each input itself before it calls the model."""

import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import torch

from sample_workloads.images import WIDTH, compressed, decoded
from sample_workloads.training import Meter, arguments, device, layers

BATCH = 6
FILES = [compressed(seed, 256) for seed in range(16)]


def batch(number: int) -> torch.Tensor:
    """The inputs of one call, decoded."""
    return torch.stack([decoded(FILES[(number + at) % len(FILES)], 256) for at in range(BATCH)])


def in_line() -> Iterator[torch.Tensor]:
    """Each batch when it is asked for."""
    number = 0
    while True:
        yield batch(number)
        number += 1


def ahead() -> Iterator[torch.Tensor]:
    """Batches decoded by other processes while the model works."""
    with ProcessPoolExecutor(2) as pool:
        coming = [pool.submit(batch, number) for number in range(6)]
        while True:
            coming.append(pool.submit(batch, len(coming)))
            yield coming.pop(0).result()


def main() -> None:
    args = arguments(__doc__)
    model = layers(WIDTH, 12).to(device()).eval()
    meter, inputs = Meter(args), ahead() if args.fix else in_line()
    with torch.inference_mode():
        while not meter.done():
            asked = time.monotonic()
            images = next(inputs)
            waited = time.monotonic() - asked
            model(images.repeat(12, 1).to(device()))
            meter.step(waited)


if __name__ == "__main__":
    main()
