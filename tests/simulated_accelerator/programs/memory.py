"""Prints what the device reports about its memory, which is 16 MB here."""

import json

import torch

MEGABYTE = 1 << 20


def block(megabytes: int) -> torch.Tensor:
    """Return a tensor on the device."""
    return torch.empty(megabytes * MEGABYTE, dtype=torch.uint8, device="sim")


def main() -> None:
    """Print the numbers as JSON."""
    accelerator = torch.accelerator
    found: dict[str, object] = {}
    held = block(4)
    found["allocated"] = accelerator.memory_allocated()
    result = held + 1  # the CPU computes it, in the memory of the device
    found["with_result"] = accelerator.memory_allocated()
    del held, result
    found["after_freeing"] = accelerator.memory_allocated()
    found["reserved"] = accelerator.memory_reserved()
    held = block(12)  # needs what is reserved for the two of 4 MB
    found["retries"] = accelerator.memory_stats()["num_alloc_retries"]
    found["peak"] = accelerator.max_memory_allocated()
    try:
        block(8)
    except torch.OutOfMemoryError as error:
        found["error"] = str(error)
    found["ooms"] = accelerator.memory_stats()["num_ooms"]
    del held
    found["works_again"] = float(block(8).zero_()[0].item())
    print(json.dumps(found))


if __name__ == "__main__":
    main()
