"""Verdict: input-bound/decode-bound. As many workers as cores, and all cores are busy decoding.

More workers would not help.
"""

from torch.utils.data import DataLoader

from sample_workloads.images import WIDTH, Images, image_side
from sample_workloads.training import (
    make_layers,
    parse_arguments,
    rank_sampler,
    step_slowdown,
    train,
    usable_cores,
)


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__, workers=usable_cores())
    images = Images(side=image_side(usable_cores() * step_slowdown()), decode_once=args.fix)
    loader = DataLoader(
        images, batch_size=16, sampler=rank_sampler(images), num_workers=args.workers
    )
    train(make_layers(WIDTH, 12), loader, args)


if __name__ == "__main__":
    main()
