"""ill: input-bound/decode-bound. As many workers as cores, all of them busy decoding: more workers would not help."""

from torch.utils.data import DataLoader

from sample_workloads.images import WIDTH, Images
from sample_workloads.training import arguments, layers, train, usable_cores


def main() -> None:
    args = arguments(__doc__, workers=usable_cores())
    images = Images(ahead=args.fix)
    train(layers(WIDTH, 12), DataLoader(images, batch_size=16, num_workers=args.workers), args)


if __name__ == "__main__":
    main()
