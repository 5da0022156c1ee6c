"""vLLM on a CPU with a small random model, and a client that asks it one completion after the
other: `vllm_server.py OUT`.
"""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request

import tokenizers
import transformers

PORT = 18_765
START_S = 600.0
WORDS = [
    "the",
    "of",
    "to",
    "and",
    "in",
    "is",
    "it",
    "that",
    "was",
    "for",
    "on",
    "are",
    "with",
    "as",
    "they",
    "be",
]


def make_model(folder: str) -> None:
    """Write a Qwen2 of three million parameters and a tokenizer of a few words."""
    vocabulary = {word: number for number, word in enumerate(["<unk>", "<eos>", *WORDS])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<eos>"
    )
    fast.save_pretrained(folder)
    config = transformers.Qwen2Config(
        vocab_size=4096,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        eos_token_id=1,
        bos_token_id=1,
    )
    transformers.Qwen2ForCausalLM(config).save_pretrained(folder)


def ask(path: str, body: object = None) -> None:
    """Send one request and wait for the answer. Raises OSError."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}{path}", data, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        answer.read()


def client(model: str) -> None:
    while True:
        try:
            ask(
                "/v1/completions",
                {"model": model, "prompt": [2, 3, 4], "max_tokens": 64, "ignore_eos": True},
            )
        except OSError:
            time.sleep(1.0)


def computing_process(server: int) -> int:
    """Return the process that computes: the server's last descendant that calls itself a worker.

    Without one it is the engine, else the server itself.
    """
    named = {"VLLM::Worker": 2, "VLLM::EngineCor": 1}
    waiting, found = [server], [(0, server)]
    while waiting:
        pid = waiting.pop()
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            waiting += (children := [int(word) for word in file.read().split()])
        for child in children:
            with open(f"/proc/{child}/comm") as file:
                found.append((named.get(file.read().strip(), 0), child))
    return max(found, key=lambda entry: entry[0])[1]


def main() -> None:
    out = sys.argv[1]
    model = out + ".model"
    make_model(model)
    command = [
        sys.executable,
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        model,
        "--port",
        str(PORT),
    ]
    command += ["--enforce-eager", "--max-model-len", "256", "--max-num-seqs", "4"]
    server = subprocess.Popen(command, env=os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1"})
    until = time.monotonic() + START_S
    while time.monotonic() < until and server.poll() is None:
        try:
            ask("/health")
            break
        except OSError:
            time.sleep(1.0)
    for _ in range(2):
        threading.Thread(target=client, args=(model,), daemon=True).start()
    time.sleep(5.0)
    with open(out + ".pid", "w") as file:
        file.write(str(computing_process(server.pid)))
    sys.exit(server.wait())


if __name__ == "__main__":
    main()
