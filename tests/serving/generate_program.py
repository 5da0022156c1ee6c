"""A program that calls `generate` of a small random Llama, and writes its own times of each call.

`python generate_program.py LOG SECONDS`: a line of the log is the begin, the end, and the times of
the tokens (ns, CLOCK_MONOTONIC), rows, and the width of the prompt. The last line of its output is
what is at the patched names.
"""

import contextlib
import json
import sys
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.generation.streamers import BaseStreamer
from transformers.generation.utils import GenerationMixin

NEW = 16
SMALL = LlamaConfig(
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=500,
    bos_token_id=0,
    eos_token_id=None,
    pad_token_id=0,
)
PATCHED = ("generate", "_has_unfinished_sequences", "_update_model_kwargs_for_generation")


class TokenTimes(BaseStreamer):  # type: ignore[misc]
    """Notes when each token is ready; the first call has the prompt."""

    def __init__(self) -> None:
        self.times_ns: list[int] = []

    def put(self, value: torch.Tensor) -> None:
        self.times_ns.append(time.monotonic_ns())

    def end(self) -> None:
        return


def main() -> None:
    """Generate until the time is over; every fifth call fails."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = LlamaForCausalLM(SMALL).eval()
    until_s = time.monotonic() + float(sys.argv[2])
    with open(sys.argv[1], "w") as log:
        number = 0
        while time.monotonic() < until_s:
            number += 1
            ids = torch.randint(0, 500, (1, 32 + 32 * (number % 2)))
            streamer, begin_ns = TokenTimes(), time.monotonic_ns()
            model.generate(ids, max_new_tokens=NEW, do_sample=False, streamer=streamer)
            ends = [begin_ns, time.monotonic_ns(), streamer.times_ns[1:]]
            print(json.dumps([*ends, *ids.shape]), file=log, flush=True)
            if number % 5 == 0:
                with contextlib.suppress(ValueError):
                    model.generate(ids, max_new_tokens=0, do_sample=False)
    print([vars(GenerationMixin)[name].__qualname__ for name in PATCHED], flush=True)
    print([hasattr(vars(GenerationMixin)[name], "__wrapped__") for name in PATCHED], flush=True)


if __name__ == "__main__":
    main()
