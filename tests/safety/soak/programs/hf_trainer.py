"""Hugging Face's Trainer on a small random GPT-2; weights and optimizer return to the start every
PERIOD steps.
"""

import torch
import transformers
from observed import PERIOD, Observed, arguments, seeded


class Tokens(torch.utils.data.IterableDataset):
    """The same batches over and over."""

    def __iter__(self):
        number = 0
        while True:
            for row in torch.randint(0, 200, (2, 32), generator=seeded(number)):
                yield {"input_ids": row, "labels": row}
            number += 1


class Trainer(transformers.Trainer):
    """A trainer that logs each loss and starts again with each period."""

    def training_step(self, model, *args, **kwargs):
        number = self.observed.step
        if number % PERIOD == 0:
            model.load_state_dict(self.first)
            getattr(self.optimizer, "optimizer", self.optimizer).state.clear()
        self.loss = super().training_step(model, *args, **kwargs)
        return self.loss


class Logged(transformers.TrainerCallback):
    """A line per step."""

    def on_step_end(self, args, state, control, **kwargs):
        self.trainer.observed.done(self.trainer.loss.item())


def main():
    out, steps = arguments()
    config = transformers.GPT2Config(
        vocab_size=200,
        n_positions=32,
        n_embd=64,
        n_layer=2,
        n_head=2,
        resid_pdrop=0,
        embd_pdrop=0,
        attn_pdrop=0,
    )
    torch.manual_seed(3)
    model = transformers.GPT2LMHeadModel(config)
    settings = transformers.TrainingArguments(
        output_dir=out + ".trainer",
        max_steps=min(steps, 10_000_000),
        per_device_train_batch_size=2,
        lr_scheduler_type="constant",
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    logged = Logged()
    trainer = Trainer(model=model, args=settings, train_dataset=Tokens(), callbacks=[logged])
    logged.trainer = trainer
    trainer.first = {name: value.clone() for name, value in model.state_dict().items()}
    trainer.observed = Observed(out)
    trainer.train()


if __name__ == "__main__":
    main()
