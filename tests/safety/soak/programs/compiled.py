"""Training of a model that was compiled as one graph: a wrapper inside it would end the program
with an error.
"""

import torch
from observed import Observed, Training, arguments


def main():
    out, steps = arguments()
    training = Training(compiled=lambda model: torch.compile(model, fullgraph=True))
    training.train(0)
    observed = Observed(out)
    while observed.step < steps:
        observed.done(training.train(observed.step))


if __name__ == "__main__":
    main()
