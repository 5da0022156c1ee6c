"""Verdict: sleep-in-loop. The loop polls for a result with a sleep instead of waiting for it."""

import queue
import threading
import time

import torch
from torch.utils.data import DataLoader, TensorDataset

from sample_workloads.training import make_layers, parse_arguments, rank_sampler, train

BATCH, WIDTH = 64, 256
EVALUATION_S, POLL_S = 0.001, 0.03


def evaluate_requests(requests: "queue.Queue[int]", results: "queue.Queue[int]") -> None:
    """Answer each request after a moment, as an evaluation in another process does."""
    while True:
        request = requests.get()
        time.sleep(EVALUATION_S)
        results.put(request)


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    requests: queue.Queue[int] = queue.Queue()
    results: queue.Queue[int] = queue.Queue()
    threading.Thread(target=evaluate_requests, args=(requests, results), daemon=True).start()

    def wait_for_result(step: int) -> None:
        """Wait for the evaluation of a step."""
        requests.put(step)
        while not args.fix and results.empty():
            time.sleep(POLL_S)
        results.get()

    data = TensorDataset(torch.randn(BATCH * 64, WIDTH), torch.randint(0, 10, (BATCH * 64,)))
    loader = DataLoader(data, batch_size=BATCH, sampler=rank_sampler(data))
    train(make_layers(WIDTH, 8), loader, args, every_step=wait_for_result)


if __name__ == "__main__":
    main()
