"""Prints what the probe sees of the simulated device, before and after it is used."""

import json
import os

import torch

from perfscope.agent.probe.accelerator import Accelerator, EventPool


def main() -> None:
    """Look at the device, and time a product with its events."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    accelerator = Accelerator(torch)
    before = accelerator.kind()
    matrix = torch.ones(64, 64, device="sim")
    pool = EventPool(accelerator)
    first = pool.take()
    torch.mm(matrix, matrix)
    last = pool.take()
    early = pool.elapsed_ns(first, last)
    torch.accelerator.synchronize()
    found = {
        "before": before,
        "kind": accelerator.kind(),
        "activity": accelerator.activity() == torch.profiler.ProfilerActivity.PrivateUse1,
        "stream": accelerator.stream(),
        "devices": accelerator.devices(),
        "float32_products": accelerator.float32_products(),
        "may_record": accelerator.may_record(),
        "early": early,
        "elapsed_ns": pool.elapsed_ns(first, last),
    }
    pool.release()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
