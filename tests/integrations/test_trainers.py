"""Trainers of other libraries with tiny random models: one added argument gives the diagnosis."""

import json
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

DATA = """
import json, time, warnings
warnings.simplefilter("ignore")
import torch
from torch.utils.data import DataLoader, Dataset

class Slow(Dataset):
    def __len__(self):
        return 400
    def __getitem__(self, index):
        time.sleep(0.004)
        return {"input_ids": torch.arange(8) + index % 4, "labels": torch.tensor(index % 2)}
"""

TRANSFORMERS = """
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
from perfscope.integrations.transformers import PerfscopeCallback

config = BertConfig(
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=16,
    vocab_size=16,
)
arguments = TrainingArguments(
    output_dir="out",
    max_steps=40,
    per_device_train_batch_size=8,
    use_cpu=True,
    report_to=[],
    disable_tqdm=True,
    save_strategy="no",
    logging_strategy="no",
    gradient_accumulation_steps=1,
)
callback = PerfscopeCallback(depth="probe")
model = BertForSequenceClassification(config)
Trainer(model, arguments, train_dataset=Slow(), callbacks=[callback]).train()
scope = callback.scope
"""

LIGHTNING = """
import logging
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
from lightning.pytorch import LightningModule, Trainer
from perfscope.integrations.lightning import PerfscopeCallback

class Tiny(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(8, 2)
    def training_step(self, batch, index):
        output = self.layer(batch["input_ids"].float())
        return torch.nn.functional.cross_entropy(output, batch["labels"])
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

callback = PerfscopeCallback(depth="probe")
trainer = Trainer(
    max_steps=40,
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    callbacks=[callback],
)
trainer.fit(Tiny(), DataLoader(Slow(), batch_size=8))
scope = callback.scope
"""

ACCELERATE = """
from accelerate import Accelerator
import perfscope

accelerator = Accelerator(cpu=True)
model = torch.nn.Linear(8, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(Slow(), batch_size=8))
with perfscope.profile(depth="probe") as scope:
    for batch in loader:
        output = model(batch["input_ids"].float())
        loss = torch.nn.functional.cross_entropy(output, batch["labels"])
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
"""

PRINT = """
found = [[finding.id, finding.cause] for finding in scope.diagnosis.findings]
print(json.dumps([found, scope.diagnosis.steps.count]))
"""

PROGRAMS = {"transformers": TRANSFORMERS, "lightning": LIGHTNING, "accelerate": ACCELERATE}


@pytest.mark.parametrize("library", PROGRAMS)
def test_a_trainer_is_diagnosed_with_one_added_line(library: str, tmp_path: Path) -> None:
    needed = (library, "accelerate") if library == "transformers" else (library,)
    if any(find_spec(name) is None for name in needed):
        pytest.skip(f"{library} is not installed: pip install -e '.[integrations]'")
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(DATA + PROGRAMS[library] + PRINT))
    command = [sys.executable, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found, steps = json.loads(done.stdout.splitlines()[-1])
    assert ["input-bound", "in-process-loading"] in found
    assert 30 <= steps <= 50
    assert str(steps) in done.stderr
