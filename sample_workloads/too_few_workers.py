"""Verdict: input-bound/too-few-workers. One worker loads from a remote store; more are needed."""

from functools import partial

from torch.utils.data import DataLoader

from sample_workloads.images import WIDTH, RemoteImages, open_store
from sample_workloads.training import (
    classify,
    make_layers,
    parse_arguments,
    rank_sampler,
    step_slowdown,
    train,
)

SIDE = 128
LATENCY_S = 0.008
FIXED_WORKERS = 8


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__, workers=1)
    data = RemoteImages(open_store(SIDE, LATENCY_S * step_slowdown()), SIDE)
    workers = FIXED_WORKERS if args.fix else args.workers
    loader = DataLoader(data, batch_size=8, sampler=rank_sampler(data), num_workers=workers)
    train(make_layers(WIDTH, 12), loader, args, learn=partial(classify, variations=4))


if __name__ == "__main__":
    main()
