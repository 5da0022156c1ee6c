"""Plain training: a data loader with one worker, momentum, a schedule, a checkpoint every
period.
"""

import torch
from observed import PERIOD, Observed, Training, arguments, seeded


class Images(torch.utils.data.Dataset):
    """The batches of one period, made in the loader's worker."""

    def __init__(self, training):
        self.width, self.batch = training.width, training.batch

    def __len__(self):
        return PERIOD

    def __getitem__(self, number):
        generator = seeded(number)
        images = torch.randn(self.batch, self.width, generator=generator)
        return images, torch.randint(0, 10, (self.batch,), generator=generator)


def main():
    out, steps = arguments()
    training, observed = Training(), Observed(out)
    loader = torch.utils.data.DataLoader(Images(training), batch_size=None, num_workers=1)
    while observed.step < steps:
        for number, (images, labels) in enumerate(loader):
            observed.done(training.train(number, images, labels))
        torch.save(training.model.state_dict(), out + ".checkpoint")


if __name__ == "__main__":
    main()
