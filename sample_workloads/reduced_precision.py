"""ill: reduced-precision-unused. The data came from numpy in float64, and the whole training
followed them.
"""

import numpy as np
import torch

from sample_workloads.training import arguments, layers, train

BATCH, WIDTH = 512, 1024


def main() -> None:
    args = arguments(__doc__)
    kind = torch.float32 if args.fix else torch.float64
    rng = np.random.default_rng(0)
    inputs = [torch.from_numpy(rng.standard_normal((BATCH, WIDTH))).to(kind) for _ in range(8)]
    data = [(one, torch.randint(0, 10, (BATCH,))) for one in inputs]
    train(layers(WIDTH, 2).to(kind), data, args)


if __name__ == "__main__":
    main()
