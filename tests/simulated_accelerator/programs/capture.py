"""Captures and replays a graph; prints what works and which errors come."""

import json
import threading

import torch


def error_of(action: object) -> str:
    """Return the message of the error that an action raises, "" for none."""
    try:
        action()  # type: ignore[operator]
    except RuntimeError as error:
        return str(error)
    return ""


def captured_with(action: object, *, in_thread: bool = False, mode: str = "global") -> list[str]:
    """Return the errors of an action during a capture, and of the capture itself."""
    x = torch.ones(4, device="sim")
    stream, graph = torch.Stream("sim"), torch.accelerator.Graph(capture_error_mode=mode)
    errors = []

    def capture() -> None:
        with stream, graph:
            x.add_(1)
            if in_thread:
                thread = threading.Thread(target=lambda: errors.append(error_of(action)))
                thread.start()
                thread.join()
            else:
                errors.append(error_of(action))

    errors.append(error_of(capture))
    return errors


def replayed() -> list[float]:
    """Return a value before and after each of two replays of a graph."""
    x, y = torch.ones(4, device="sim"), torch.zeros(4, device="sim")
    stream, graph = torch.Stream("sim"), torch.accelerator.Graph()
    with stream, graph:
        y.copy_(x * 2)
        x.add_(1)
    x.fill_(10)
    values = []
    for _ in range(2):
        graph.replay()
        torch.accelerator.synchronize()
        values += [x[0].item(), y[0].item()]
    return values


def main() -> None:
    """Print the results as JSON."""
    event = torch.Event("sim")
    event.record()
    x = torch.ones(4, device="sim")
    found = {
        "replayed": replayed(),
        "query": captured_with(event.query),
        "foreign query": captured_with(event.query, in_thread=True),
        "foreign query, thread_local": captured_with(
            event.query, in_thread=True, mode="thread_local"
        ),
        "item": captured_with(lambda: x[0].item()),
        "nothing": captured_with(lambda: None),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
