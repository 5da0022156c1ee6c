"""Data for programs that would download theirs: noise in the right form. Each function writes into
FOLDER once.
"""

import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np

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


def images_28x28(folder: Path) -> None:
    """The four files of MNIST: for torchvision, below every folder where a program looks for
    them.
    """
    random = np.random.default_rng(0)
    examples = (folder / "examples/data", folder / "examples/mnist_forward_forward/data")
    for place in (*examples, *lightning_folders(folder)):
        raw = place / "MNIST" / "raw"
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


def lightning_folders(folder: Path) -> list[Path]:
    """Where Lightning's examples look for MNIST."""
    root = folder / "pytorch-lightning"
    return [
        root / "Datasets",
        root / "examples/Datasets",
        root / "examples/pytorch/Datasets",
        root / "examples/pytorch/basics/data",
    ]


def text(bytes_wanted: int) -> str:
    """Lines of common words."""
    random = np.random.default_rng(0)
    lines: list[str] = []
    length = 0
    while length < bytes_wanted:
        lines.append(" ".join(random.choice(WORDS, 12)))
        length += len(lines[-1]) + 1
    return "\n".join(lines) + "\n"


def texts(folder: Path) -> None:
    """Text files for the language models."""
    wikitext = folder / "examples/word_language_model/data/wikitext-2"
    for name in ("train", "valid", "test"):
        (wikitext / f"{name}.txt").write_text(text(1_000_000 if name == "train" else 50_000))
    characters = folder / "nanoGPT/data/shakespeare_char"
    for path in (
        characters / "input.txt",
        folder / "minGPT/projects/chargpt/input.txt",
        folder / "pytorch-lightning/examples/pytorch/basics/data/wikitext-2.txt",
        folder / "pytorch-lightning/examples/fabric/language_model/data/wikitext-2.txt",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text(1_000_000))


def prepare_script(program: str, script: str) -> Callable[[Path, Path], None]:
    """A function that runs the program's own script to prepare its data."""

    def run(folder: Path, python: Path) -> None:
        subprocess.run([python, script], cwd=folder / program, check=True, capture_output=True)

    return run


PICTURES = """
import sys, numpy, PIL.Image, pathlib
folder, random = pathlib.Path(sys.argv[1]), numpy.random.default_rng(0)
def write(place, count):
    place.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = random.integers(0, 256, (300, 300, 3), dtype=numpy.uint8)
        PIL.Image.fromarray(pixels).save(place / f"{number}.jpg")
for part in ("train", "test"):
    write(folder / "examples/super_resolution/dataset/BSDS300/images" / part, 40)
for part in ("train", "validation"):
    for label in ("cat", "dog"):
        write(folder / "pictures" / part / label, 120)
"""

CHECKPOINT = """
import sys, pathlib, torch, sentencepiece
folder = pathlib.Path(sys.argv[1]) / "gpt-fast"
sys.path.insert(0, str(folder))
from model import Transformer
place = folder / "checkpoints/made-up/stories15M"
place.mkdir(parents=True, exist_ok=True)
words = sys.argv[2]
sentencepiece.SentencePieceTrainer.train(
    input=words, model_prefix=str(place / "tokenizer"), vocab_size=60, hard_vocab_limit=False
)
known = sentencepiece.SentencePieceProcessor(str(place / "tokenizer.model")).vocab_size()
torch.manual_seed(0)
weights = Transformer.from_name("stories15M").state_dict()
for name, value in weights.items():
    value.normal_(0, 0.05) if value.is_floating_point() else None
weights["output.weight"][known:] = -weights["output.weight"][:1].abs()
torch.save(weights, place / "model.pth")
"""


def pictures(folder: Path, python: Path) -> None:
    """JPEG files of noise."""
    subprocess.run([python, "-c", PICTURES, str(folder)], check=True)


def checkpoint(folder: Path, python: Path) -> None:
    """Random weights and a tokenizer for gpt-fast."""
    source = folder / "words.txt"
    source.write_text(text(200_000))
    command = [python, "-c", CHECKPOINT, str(folder), str(source)]
    subprocess.run(
        command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
