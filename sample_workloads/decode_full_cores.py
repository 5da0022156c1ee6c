"""ill: input-bound/decode-bound. As many workers as cores, all of them busy decoding: more workers
would not help.
"""

from torch.utils.data import DataLoader

from sample_workloads.images import WIDTH, Images, side_for
from sample_workloads.training import arguments, exchanging, layers, own_part, train, usable_cores


def main() -> None:
    args = arguments(__doc__, workers=usable_cores())
    images = Images(side=side_for(usable_cores() * exchanging()), ahead=args.fix)
    loader = DataLoader(images, batch_size=16, sampler=own_part(images), num_workers=args.workers)
    train(layers(WIDTH, 12), loader, args)


if __name__ == "__main__":
    main()
