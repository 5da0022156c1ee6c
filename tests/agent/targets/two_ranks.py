"""Two ranks that train together: `two_ranks.py OUT PORT`.

Each step is a profiler range `step N`. Rank 0 writes one line per step to OUT.
"""

import os
import subprocess
import sys
import time

RANKS = 2


def train() -> None:
    import torch
    from torch import distributed

    distributed.init_process_group("gloo")
    torch.manual_seed(3)
    torch.set_num_threads(1)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(32, 8))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    step = 0
    path = sys.argv[1] if distributed.get_rank() == 0 else os.devnull
    with open(path, "w", buffering=1) as lines:
        while True:
            with torch.profiler.record_function(f"step {step}"):
                optimizer.zero_grad()
                loss = model(torch.randn(8, 32)).square().mean()
                loss.backward()
                time.sleep(0.004 + 0.004 * ((step * 7) % 3))
                optimizer.step()
            lines.write(f"{step}\n")
            step += 1


def main() -> None:
    if "RANK" in os.environ:
        train()
    shared = os.environ | {
        "WORLD_SIZE": str(RANKS),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": sys.argv[2],
    }
    command = [sys.executable, *sys.argv]
    processes = []
    for rank in range(RANKS):
        environment = shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        processes.append(subprocess.Popen(command, env=environment))
    for process in processes:
        process.wait()


if __name__ == "__main__":
    main()
