"""ill: input-bound/decode-bound. Three decoding workers for each core: they wait for cores, not for storage."""

from torch.utils.data import DataLoader

from sample_workloads.images import WIDTH, Images
from sample_workloads.training import arguments, layers, train, usable_cores


def main() -> None:
    args = arguments(__doc__, workers=3 * usable_cores())
    images = Images(ahead=args.fix)
    train(layers(WIDTH, 12), DataLoader(images, batch_size=16, num_workers=args.workers), args)


if __name__ == "__main__":
    main()
