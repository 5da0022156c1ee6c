"""One rank of a job that trains with gloo: `job_rank.py STEPS LAYERS`.

More layers make a slower rank.
"""

import sys

import torch
from torch import distributed


def main() -> None:
    steps, layers = int(sys.argv[1]), int(sys.argv[2])
    distributed.init_process_group("gloo")
    torch.set_num_threads(1)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(256, 256))
    extra = torch.nn.Sequential(*(torch.nn.Linear(256, 256) for _ in range(layers)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    rows = torch.randn(512, 256)
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.no_grad():
            given = extra(rows)
        loss = model(given).square().mean()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main()
