"""Verdict: input-bound/decode-bound. Three workers per core decode images.

They wait for cores, not for storage.
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
    args = parse_arguments(__doc__, workers=3 * usable_cores())
    images = Images(side=image_side(2 * usable_cores() * step_slowdown()), decode_once=args.fix)
    loader = DataLoader(
        images, batch_size=16, sampler=rank_sampler(images), num_workers=args.workers
    )
    train(make_layers(WIDTH, 10), loader, args)


if __name__ == "__main__":
    main()
