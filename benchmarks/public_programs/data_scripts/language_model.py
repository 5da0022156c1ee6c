"""Writes a small untrained GPT-2 with a token per word: `python language_model.py FOLDER TEXT`."""

import sys

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

UNKNOWN, END = "<unk>", "<|endoftext|>"

folder, text = sys.argv[1:]
tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer.train([text], trainers.WordLevelTrainer(special_tokens=[UNKNOWN, END]))
PreTrainedTokenizerFast(
    tokenizer_object=tokenizer,
    unk_token=UNKNOWN,
    eos_token=END,
    pad_token=END,
    model_max_length=1024,
).save_pretrained(folder)
config = GPT2Config(
    vocab_size=tokenizer.get_vocab_size(),
    n_layer=4,
    n_head=4,
    n_embd=256,
    bos_token_id=1,
    eos_token_id=1,
)
GPT2LMHeadModel(config).save_pretrained(folder)
