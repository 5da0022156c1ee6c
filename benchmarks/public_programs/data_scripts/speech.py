"""Writes noise in the files of Mini LibriSpeech, and a set of noises: `python speech.py FOLDER`."""

import sys
from pathlib import Path

import numpy
import soundfile

RATE_HZ = 16_000
UTTERANCES = {"train-clean-5": 400, "dev-clean-2": 40, "test-clean": 40}
random = numpy.random.default_rng(0)


def write_noise(path: Path, shortest_s: float, longest_s: float) -> None:
    """Write a file of random length."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = int(RATE_HZ * random.uniform(shortest_s, longest_s))
    soundfile.write(path, 0.1 * random.standard_normal(samples), RATE_HZ, "PCM_16")


folder = Path(sys.argv[1])
for part, count in UTTERANCES.items():
    for number in range(count):
        speaker = str(number % 20)
        name = f"{speaker}-1-{number:04}.flac"
        write_noise(folder / "LibriSpeech" / part / speaker / "1" / name, 4.0, 16.0)
for number in range(20):
    write_noise(folder / f"noise/{number}.wav", 2.0, 10.0)
(folder / "noise/data.zip").touch()  # the archive counts as loaded
