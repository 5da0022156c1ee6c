"""Verdict: reduced-precision-unused. Inputs from NumPy are float64, and so is the training."""

import numpy as np
import torch

from sample_workloads.training import make_layers, parse_arguments, train

BATCH, WIDTH = 512, 1024


def main() -> None:
    """Run the workload."""
    args = parse_arguments(__doc__)
    kind = torch.float32 if args.fix else torch.float64
    rng = np.random.default_rng(0)
    inputs = [torch.from_numpy(rng.standard_normal((BATCH, WIDTH))).to(kind) for _ in range(8)]
    data = [(batch, torch.randint(0, 10, (BATCH,))) for batch in inputs]
    train(make_layers(WIDTH, 2).to(kind), data, args)


if __name__ == "__main__":
    main()
