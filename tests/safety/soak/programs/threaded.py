"""Many threads: a main thread that trains, eight threads that infer all the time, and short
threads.
"""

import threading
import time

import torch
from observed import Observed, Training, arguments


def infer(seed):
    torch.set_num_threads(1)
    training = Training(width=64, depth=2, batch=32)
    images = training.data(seed)[0]
    while True:
        with torch.no_grad():
            training.model(images)
        time.sleep(0.02)


def main():
    out, steps = arguments()
    for seed in range(8):
        threading.Thread(target=infer, args=(seed,), name="infer", daemon=True).start()
    time.sleep(0.5)
    training, observed = Training(), Observed(out)
    while observed.step < steps:
        number = observed.step
        if number % 10 == 0:
            batches = []
            maker = threading.Thread(
                target=lambda at=number, to=batches: to.append(training.data(at))
            )
            maker.start()
            maker.join()
            observed.done(training.train(number, *batches[0]))
        else:
            observed.done(training.train(number))


if __name__ == "__main__":
    main()
