"""Training that forks children: some infer, some save, some train themselves, and one forks
again.
"""

import os

import torch
from observed import PERIOD, Observed, Training, arguments

EVERY = 25


def work(observed, training, number):
    """What a child does, by its number; ends the child."""
    code = 1
    try:
        kind = number // EVERY % 4
        torch.set_num_threads(1)
        if kind == 0:
            with torch.no_grad():
                value = training.model(training.data(number)[0]).sum().item()
        elif kind == 1:
            torch.save(training.model.state_dict(), f"{observed.out}.child")
            value = float(len(training.first))
        elif kind == 2:
            value = Training(depth=1).train(0)
        else:
            pid = os.fork()
            if not pid:
                work(observed, training, 0)
            value = float(os.waitpid(pid, 0)[1])
        observed.child(value.hex(), f"fork{number % PERIOD}")
        code = 0
    finally:
        os._exit(code)


def main():
    out, steps = arguments()
    training, observed, children = Training(), Observed(out), []
    while observed.step < steps:
        number = observed.step
        observed.done(training.train(number))
        if number % EVERY == 0:
            child = os.fork()
            if not child:
                work(observed, training, number)
            children.append(child)
        for child in list(children):
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                children.remove(child)
                if status:
                    raise RuntimeError(f"a child ended with status {status}")


if __name__ == "__main__":
    main()
