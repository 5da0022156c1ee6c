"""Verdict: input-bound/in-process-loading. num_workers=0: one process loads and trains in turn."""

from functools import partial

from torch.utils.data import DataLoader

from sample_workloads.images import WIDTH, RemoteImages, open_store
from sample_workloads.training import classify, make_layers, parse_arguments, rank_sampler, train

SIDE = 192
LATENCY_S = 0.001


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    data = RemoteImages(open_store(SIDE, LATENCY_S), SIDE)
    workers = 3 if args.fix else args.workers
    loader = DataLoader(data, batch_size=16, sampler=rank_sampler(data), num_workers=workers)
    train(make_layers(WIDTH, 12), loader, args, learn=partial(classify, variations=2))


if __name__ == "__main__":
    main()
