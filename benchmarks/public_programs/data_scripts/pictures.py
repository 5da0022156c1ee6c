"""Writes JPEG files of noise: `python pictures.py FOLDER NAME...`, a file for each name."""

import sys
from pathlib import Path

import numpy
from PIL import Image

random = numpy.random.default_rng(0)
for name in sys.argv[2:]:
    path = Path(sys.argv[1]) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = random.integers(0, 256, (300, 300, 3), dtype=numpy.uint8)
    Image.fromarray(pixels).save(path)
