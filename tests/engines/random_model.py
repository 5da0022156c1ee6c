"""Writes a random Qwen2 model of 3 million parameters: `python random_model.py FOLDER`.

It runs in the environment of the engine, and needs torch, transformers and tokenizers.
"""

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

WORDS = 1000


def write_model(folder: Path) -> None:
    """Write the model and a tokenizer of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {"<eos>": 0, "<unk>": 1, **{f"w{word}": word + 2 for word in range(WORDS)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", unk_token="<unk>", pad_token="<eos>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    configuration = Qwen2Config(
        vocab_size=len(vocabulary),
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        eos_token_id=0,
        bos_token_id=0,
        tie_word_embeddings=True,
    )
    Qwen2ForCausalLM(configuration).to(torch.bfloat16).save_pretrained(folder)


if __name__ == "__main__":
    write_model(Path(sys.argv[1]))
