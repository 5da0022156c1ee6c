"""Trainers of other libraries, for real, with tiny random models: one added argument gives the
diagnosis.
"""

import json
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

DATA = """
import json, time, warnings
warnings.simplefilter("ignore")
import torch
from torch.utils.data import DataLoader, Dataset

class Slow(Dataset):
    def __len__(self):
        return 400
    def __getitem__(self, at):
        time.sleep(0.004)
        return {"input_ids": torch.arange(8) + at % 4, "labels": torch.tensor(at % 2)}
"""

TRANSFORMERS = """
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
from perfscope.integrations.transformers import PerfscopeCallback

sizes = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=16)
told = PerfscopeCallback(depth="probe")
arguments = TrainingArguments(
    output_dir="out", max_steps=40, per_device_train_batch_size=8, use_cpu=True, report_to=[], disable_tqdm=True,
    save_strategy="no", logging_strategy="no", gradient_accumulation_steps=1,
)
Trainer(BertForSequenceClassification(BertConfig(**sizes)), arguments, train_dataset=Slow(), callbacks=[told]).train()
"""  # noqa: E501

LIGHTNING = """
import logging
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
from lightning.pytorch import LightningModule, Trainer
from perfscope.integrations.lightning import PerfscopeCallback

class Tiny(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(8, 2)
    def training_step(self, batch, at):
        return torch.nn.functional.cross_entropy(self.layer(batch["input_ids"].float()), batch["labels"])
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

told = PerfscopeCallback(depth="probe")
trainer = Trainer(
    max_steps=40, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False, callbacks=[told],
)
trainer.fit(Tiny(), DataLoader(Slow(), batch_size=8))
"""  # noqa: E501

ACCELERATE = """
from accelerate import Accelerator
import perfscope

accelerator = Accelerator(cpu=True)
model = torch.nn.Linear(8, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(Slow(), batch_size=8))
with perfscope.profile(depth="probe") as scope:
    for batch in loader:
        loss = torch.nn.functional.cross_entropy(model(batch["input_ids"].float()), batch["labels"])
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
class told:
    scope = scope
"""

SAID = """
verdict, steps = told.scope.diagnosis.verdict, told.scope.diagnosis.steps
print(json.dumps([verdict.id, verdict.cause, steps.count]))
"""

PROGRAMS = {"transformers": TRANSFORMERS, "lightning": LIGHTNING, "accelerate": ACCELERATE}


@pytest.mark.parametrize("library", PROGRAMS)
def test_a_trainer_is_diagnosed_with_one_added_line(library: str, tmp_path: Path) -> None:
    if find_spec(library) is None or (
        library == "transformers" and find_spec("accelerate") is None
    ):
        pytest.skip(f"{library} is not installed: pip install -e '.[integrations]'")
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(DATA + PROGRAMS[library] + SAID))
    command = [sys.executable, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer: Any = json.loads(done.stdout.splitlines()[-1])
    assert answer[:2] == ["input-bound", "in-process-loading"] and 30 <= answer[2] <= 50
    assert "Input-bound" in done.stderr
