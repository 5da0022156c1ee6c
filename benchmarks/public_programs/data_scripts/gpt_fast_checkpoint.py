"""Writes random weights and a tokenizer for gpt-fast, a clone: its arguments are CLONE and TEXT."""

import sys
from pathlib import Path

import sentencepiece
import torch

clone, text = Path(sys.argv[1]), sys.argv[2]
sys.path.insert(0, str(clone))
from model import Transformer  # noqa: E402  of the clone

place = clone / "checkpoints/made-up/stories15M"
place.mkdir(parents=True, exist_ok=True)
sentencepiece.SentencePieceTrainer.train(
    input=text, model_prefix=str(place / "tokenizer"), vocab_size=60, hard_vocab_limit=False
)
known = sentencepiece.SentencePieceProcessor(str(place / "tokenizer.model")).vocab_size()
torch.manual_seed(0)
weights = Transformer.from_name("stories15M").state_dict()
for value in weights.values():
    if value.is_floating_point():
        value.normal_(0, 0.05)
weights["output.weight"][known:] = -weights["output.weight"][:1].abs()
torch.save(weights, place / "model.pth")
