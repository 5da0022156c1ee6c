"""ill: input-bound/too-few-workers. One worker asks a distant store, one answer after the other;
the step needs four.
"""

from functools import partial

from torch.utils.data import DataLoader

from sample_workloads.images import WIDTH, RemoteImages, open_store
from sample_workloads.training import arguments, classify, exchanging, layers, own_part, train

SIDE = 128
LATENCY_S = 0.008
ENOUGH = 8


def main() -> None:
    args = arguments(__doc__, workers=1)
    data = RemoteImages(open_store(SIDE, LATENCY_S * exchanging()), SIDE)
    workers = ENOUGH if args.fix else args.workers
    loader = DataLoader(data, batch_size=8, sampler=own_part(data), num_workers=workers)
    train(layers(WIDTH, 12), loader, args, learn=partial(classify, variations=4))


if __name__ == "__main__":
    main()
