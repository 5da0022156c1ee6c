"""Process pools: training whose data come from a ProcessPoolExecutor and a multiprocessing.Pool,
both forked.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import torch
from observed import PERIOD, Observed, Training, arguments

TRAINING = []
DESCRIBE_EVERY = PERIOD


def make_batch(number):
    """Make a batch in a worker."""
    torch.set_num_threads(1)
    images, labels = TRAINING[0].data(number)
    return images.numpy(), labels.numpy()


def describe_worker(kind):
    """Log the state of the worker that this runs in."""
    TRAINING[1].child("", kind)
    return kind


def main():
    out, steps = arguments()
    TRAINING.extend((Training(batch=128), Observed(out)))
    training, observed = TRAINING
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, mp_context=fork) as executor, fork.Pool(1) as pool:
        while observed.step < steps:
            number = observed.step
            if number % DESCRIBE_EVERY == 0:
                executor.submit(describe_worker, "executor").result()
                pool.apply(describe_worker, ("pool",))
            batch_of = (
                (lambda at: executor.submit(make_batch, at).result())
                if number % 2
                else (lambda at: pool.apply(make_batch, (at,)))
            )
            images, labels = batch_of(number % PERIOD)
            observed.done(
                training.train(number, torch.from_numpy(images), torch.from_numpy(labels))
            )


if __name__ == "__main__":
    main()
