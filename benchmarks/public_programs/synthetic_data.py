"""Data for programs that would download theirs: noise in the right form."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

SCRIPTS = Path(__file__).parent / "data_scripts"
WIKITEXT_WORDS = 33_278
"""Different words in WikiText-2: a language model multiplies by a matrix of this size."""
Data = Callable[[Path, Path], None]
"""A function that writes data below the folder of clones; the second argument is the programs'
Python.
"""


def make_up(names: set[str], folder: Path, python: Path) -> None:
    """Write the data with these names that are not yet there."""
    for name in sorted(names):
        done = folder / f".made-up-{name}"
        if not done.exists():
            print(f"making up {name}", file=sys.stderr)
            DATA[name](folder, python)
            done.touch()


def run_script(python: Path, name: str, *arguments: object) -> None:
    """Run one of the scripts that need packages of the programs."""
    command = [python, SCRIPTS / f"{name}.py", *arguments]
    subprocess.run(list(map(str, command)), check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def write_mnist(*folders: str) -> Data:
    """Return a function that writes the four files of MNIST, for torchvision, in each folder."""

    def write(folder: Path, python: Path) -> None:
        random = np.random.default_rng(0)
        for place in folders:
            raw = folder / place / "MNIST/raw"
            raw.mkdir(parents=True, exist_ok=True)
            for name, count in (("train", 60_000), ("t10k", 10_000)):
                pixels = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
                labels = random.integers(0, 10, count, dtype=np.uint8)
                (raw / f"{name}-images-idx3-ubyte").write_bytes(
                    struct.pack(">4i", 0x803, count, 28, 28) + pixels.tobytes()
                )
                (raw / f"{name}-labels-idx1-ubyte").write_bytes(
                    struct.pack(">2i", 0x801, count) + labels.tobytes()
                )

    return write


def random_text(bytes_wanted: int, words: int) -> str:
    """Return lines of about this many different words, a few of them common, as in a language."""
    random = np.random.default_rng(0)
    count = bytes_wanted // len("w1234 ")
    chosen = np.concatenate((np.arange(words), (random.zipf(1.2, count) - 1) % words))
    lines = np.array_split(random.permutation(chosen), max(len(chosen) // 20, 1))
    return "".join(" ".join(f"w{word}" for word in line) + "\n" for line in lines)


def write_text(path: str, bytes_wanted: int = 1_000_000, words: int = 100) -> Data:
    """Return a function that writes a text file."""

    def write(folder: Path, python: Path) -> None:
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(random_text(bytes_wanted, words))

    return write


def in_order(*parts: Data) -> Data:
    """Return a function that calls these functions one after the other."""

    def write(folder: Path, python: Path) -> None:
        for part in parts:
            part(folder, python)

    return write


def own_script(clone: str, script: str) -> Data:
    """Return a function that runs a program's own script to prepare its data."""

    def write(folder: Path, python: Path) -> None:
        subprocess.run([python, script], cwd=folder / clone, check=True, capture_output=True)

    return write


def write_pictures(place: str, *names: str) -> Data:
    """Return a function that writes JPEG files of noise with these names."""

    def write(folder: Path, python: Path) -> None:
        run_script(python, "pictures", folder / place, *names)

    return write


def write_checkpoint(folder: Path, python: Path) -> None:
    """Write random weights and a tokenizer for gpt-fast."""
    write_text("words.txt", 200_000)(folder, python)
    run_script(python, "gpt_fast_checkpoint", folder / "gpt-fast", folder / "words.txt")


def write_language_model(folder: Path, python: Path) -> None:
    """Write an untrained language model, and sentences in its words."""
    words = folder / "made-up/words.txt"
    write_text("made-up/words.txt", 6_000_000, 20_000)(folder, python)
    run_script(python, "language_model", folder / "made-up/gpt2", words)
    rows = [json.dumps({"text": line}) + "\n" for line in words.read_text().splitlines()]
    place = folder / "made-up/sentences/train.jsonl"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("".join(rows))


def write_hub_weights(folder: Path, python: Path) -> None:
    """Write weights that a program would download from a hub."""
    run_script(python, "hub_weights", folder / "made-up/hub")


def write_graphs(folder: Path, python: Path) -> None:
    """Write graphs for PyTorch Geometric's examples, which look for them next to their folder."""
    run_script(python, "graphs", folder / "pytorch_geometric/data")


def write_speech(folder: Path, python: Path) -> None:
    """Write utterances and noises."""
    run_script(python, "speech", folder / "made-up/speech")


DATA: dict[str, Data] = {
    "mnist": write_mnist("examples/data", "examples/mnist_forward_forward/data"),
    "lightning-mnist": write_mnist(
        "pytorch-lightning/Datasets",
        "pytorch-lightning/examples/Datasets",
        "pytorch-lightning/examples/pytorch/Datasets",
        "pytorch-lightning/examples/pytorch/basics/data",
    ),
    "wikitext": in_order(
        write_text(
            "examples/word_language_model/data/wikitext-2/train.txt", 6_000_000, WIKITEXT_WORDS
        ),
        write_text("examples/word_language_model/data/wikitext-2/valid.txt", 50_000),
        write_text("examples/word_language_model/data/wikitext-2/test.txt", 50_000),
    ),
    "shakespeare": in_order(
        write_text("nanoGPT/data/shakespeare_char/input.txt"),
        own_script("nanoGPT", "data/shakespeare_char/prepare.py"),
    ),
    "chargpt": write_text("minGPT/projects/chargpt/input.txt"),
    "lightning-wikitext": in_order(
        write_text(
            "pytorch-lightning/examples/pytorch/basics/data/wikitext-2.txt",
            6_000_000,
            WIKITEXT_WORDS,
        ),
        write_text(
            "pytorch-lightning/examples/fabric/language_model/data/wikitext-2.txt",
            6_000_000,
            WIKITEXT_WORDS,
        ),
    ),
    "waves": own_script("examples/time_sequence_prediction", "generate_sine_wave.py"),
    "super-resolution": write_pictures(
        "examples/super_resolution/dataset/BSDS300/images",
        *(f"{part}/{number}.jpg" for part in ("train", "test") for number in range(200)),
    ),
    "pictures": write_pictures(
        "pictures",
        *(
            f"{part}/{label}/{number}.jpg"
            for part in ("train", "validation")
            for label in ("cat", "dog")
            for number in range(400)
        ),
    ),
    "pets": write_pictures(
        "made-up/pets",
        *(f"{breed}_{number}.jpg" for breed in ("beagle", "pug") for number in range(800)),
    ),
    "gpt-fast": write_checkpoint,
    "language-model": write_language_model,
    "speech": write_speech,
    "hub": write_hub_weights,
    "graphs": write_graphs,
}
"""Each function by the name that a program has in `Program.data`."""
