"""Verdict: queueing/admission-limit. Batches have two requests, and twice as many wait."""

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

LOAD = 0.65
"""The load as a share of what the model can serve in batches of SMALL."""
SMALL, LARGE = 2, 16


def main() -> None:
    """Run the workload."""
    args = parse_server_arguments(__doc__)
    model = model_of(args, layers=48)
    rate = args.rate or LOAD * SMALL / seconds_per_batch(model, SMALL)
    settings = settings_of(args, BatchSettings(0.0, LARGE if args.fix else SMALL))
    serve(make_app(Batcher(model, settings)), rate, args)


if __name__ == "__main__":
    main()
