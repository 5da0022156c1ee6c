"""A Ray actor that trains; the attach goes to its worker process."""

import os
import sys
import tempfile
from pathlib import Path

import ray

FOLDER = str(Path(__file__).parent)


@ray.remote(num_cpus=1)
class Trainer:
    """Holds the model; its calls are one cell of work each."""

    def __init__(self, out):
        sys.path.insert(0, FOLDER)
        import torch
        from observed import Observed, Training

        torch.set_num_threads(1)
        self.training, self.observed = Training(), Observed(out)
        self.observed.answer_always()

    def train(self, count):
        for _ in range(count):
            self.observed.done(self.training.train(self.observed.step))


def main():
    out, steps = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1 << 60
    place = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # its sockets need a short path
    with open(out + ".folder", "w") as file:
        file.write(place)  # removed with the target
    ray.init(
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        _temp_dir=place,
        object_store_memory=80 << 20,
        logging_level="ERROR",
    )
    trainer = Trainer.remote(os.path.abspath(out))
    while steps > 0:
        ray.get(trainer.train.remote(20))
        steps -= 20
    ray.shutdown()


if __name__ == "__main__":
    main()
