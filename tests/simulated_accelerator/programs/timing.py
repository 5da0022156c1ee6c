"""Prints times on the device, as its own events measure them, in milliseconds.

The script of durations says 10 ms for a product of matrices and 20 ms for `sin`; a stream holds
eight launches. A product before the first event keeps the host ahead of the device, so that times
are exact.
"""

import json
import threading
import time

import torch

BYTES = 64 << 10


def event() -> torch.Event:
    """Return an event that has been recorded on the current stream."""
    recorded = torch.Event("sim", enable_timing=True)
    recorded.record()
    return recorded


def event_after_product(matrix: torch.Tensor) -> torch.Event:
    """Return an event after a product."""
    torch.mm(matrix, matrix)
    return event()


def between(first: torch.Event, last: torch.Event) -> float:
    """Return the time between two events."""
    last.synchronize()
    return first.elapsed_time(last)


def kernels(matrix: torch.Tensor) -> dict[str, float]:
    """Return the time of four products, and whether they had ended when the last was launched."""
    first = event_after_product(matrix)
    for _ in range(4):
        torch.mm(matrix, matrix)
    last = event()
    was_done = last.query()
    return {"four_products": between(first, last), "done_after_launching": float(was_done)}


def two_streams(matrix: torch.Tensor) -> dict[str, float]:
    """Return the time of a product on each of two streams, one after the other and at once."""
    first_stream, second_stream = torch.Stream("sim"), torch.Stream("sim")
    found = {}
    for name, waits in (("streams_that_wait", True), ("streams_at_once", False)):
        first = event_after_product(matrix)
        first_stream.wait_event(first)
        with first_stream:
            torch.mm(matrix, matrix)
            middle = event()
        second_stream.wait_event(middle if waits else first)
        with second_stream:
            torch.mm(matrix, matrix)
            last = event()
        found[name] = between(first, last)
    return found


def copies(matrix: torch.Tensor) -> dict[str, float]:
    """Return the times of copies in both directions, of pinned and of pageable memory."""
    host = torch.zeros(BYTES, dtype=torch.uint8)
    device = host.to("sim")
    found = {}
    for name, tensor in {"pinned": host.pin_memory(), "pageable": host}.items():
        first = event_after_product(matrix)
        device.copy_(tensor, non_blocking=True)
        found[f"upload_{name}"] = between(first, event())
        first = event_after_product(matrix)
        tensor.copy_(device, non_blocking=True)
        found[f"download_{name}"] = between(first, event())
    return found


def waits(matrix: torch.Tensor) -> dict[str, float]:
    """Return whether each way to wait returns only after the work before it."""
    actions = {
        "item": lambda: matrix[0, 0].item(),
        "to_cpu": matrix.cpu,
        "blocking_upload": lambda: torch.zeros(4).to("sim"),
        "accelerator": torch.accelerator.synchronize,
        "stream": lambda: torch.accelerator.current_stream().synchronize(),
        "event": lambda: event().synchronize(),
        "nonzero": matrix.nonzero,
        "mask": lambda: matrix[matrix > 0],
    }
    found = {}
    for name, action in actions.items():
        after = event_after_product(matrix)
        action()
        found[f"waits_{name}"] = float(after.query())
    return found


def other_threads_run(matrix: torch.Tensor) -> bool:
    """Return whether another thread of Python runs while this one waits for the device."""
    turns = []
    ended = threading.Event()

    def turn() -> None:
        while not ended.is_set():
            turns.append(time.monotonic())
            time.sleep(0.001)

    thread = threading.Thread(target=turn)
    thread.start()
    for _ in range(7):
        torch.sin(matrix)
    began = time.monotonic()
    torch.accelerator.synchronize()
    ended.set()
    thread.join()
    return sum(at > began for at in turns) >= 5


def queue_is_bounded(matrix: torch.Tensor) -> bool:
    """Return whether the first four of twelve launches have ended when the last returns."""
    torch.accelerator.synchronize()
    events = []
    for _ in range(12):
        torch.sin(matrix)
        events.append(event())
    return events[3].query()


def main() -> None:
    """Print all times as JSON."""
    matrix = torch.ones(8, 8, device="sim")
    torch.accelerator.synchronize()
    times = {**kernels(matrix), **two_streams(matrix), **copies(matrix), **waits(matrix)}
    times["threads_run"] = float(other_threads_run(matrix))
    times["queue_is_bounded"] = float(queue_is_bounded(matrix))
    print(json.dumps(times))


if __name__ == "__main__":
    main()
