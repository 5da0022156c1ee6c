"""ill: input-bound/in-process-loading. num_workers=0: decoding and training take turns in one process."""

from torch.utils.data import DataLoader

from sample_workloads.images import WIDTH, Images
from sample_workloads.training import arguments, layers, train


def main() -> None:
    args = arguments(__doc__)
    images = Images(side=128)
    train(layers(WIDTH, 10), DataLoader(images, batch_size=32, num_workers=2 if args.fix else 0), args)


if __name__ == "__main__":
    main()
