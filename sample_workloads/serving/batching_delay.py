"""Verdict: batching-delay. Batches wait for 40 ms to fill, although the model is seldom busy."""

from sample_workloads.serving.batch_server import (
    Batcher,
    BatchSettings,
    make_app,
    model_of,
    parse_server_arguments,
    serve,
    settings_of,
)
from sample_workloads.serving.model import seconds_per_batch

BUSY = 0.2
"""The share of time in which the model would compute if each request were a batch."""
LARGEST = 16


def main() -> None:
    """Run the workload."""
    args = parse_server_arguments(__doc__)
    model = model_of(args, layers=12)
    rate = args.rate or BUSY / seconds_per_batch(model, 1)
    settings = settings_of(args, BatchSettings(0.0 if args.fix else 0.04, LARGEST))
    serve(make_app(Batcher(model, settings)), rate, args)


if __name__ == "__main__":
    main()
