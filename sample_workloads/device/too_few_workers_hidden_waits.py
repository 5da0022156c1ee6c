"""Verdict: input-bound/too-few-workers. One worker is slower than the device, but only a little.

The device computes during most of each wait for a batch, since nothing else holds the host up:
only the rest of the wait costs time.
"""

from sample_workloads.device.too_few_workers import load_and_train
from sample_workloads.training import parse_arguments

LATENCY_S, DEPTH = 0.02, 4
FIXED_WORKERS = 4


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__, workers=1)
    workers = FIXED_WORKERS if args.fix else args.workers
    load_and_train(args, workers, latency_s=LATENCY_S, depth=DEPTH)


if __name__ == "__main__":
    main()
