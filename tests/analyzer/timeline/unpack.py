"""A reader of timeline tiles, written from the description of the format."""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADER = struct.Struct("<4sHHII")
LANE = struct.Struct("<IBBHII")
EMPTY, EVENTS, PIXELS, RUNS, LEVELS = range(5)


@dataclass
class TileReader:
    """The bytes of a tile, and the position of the next array in them."""

    body: bytes
    at: int = 0

    def header(self, layout: struct.Struct) -> tuple[Any, ...]:
        """Return the fields of a header."""
        fields = layout.unpack_from(self.body, self.at)
        self.at += layout.size
        return fields

    def array(self, dtype: str, count: int) -> NDArray[Any]:
        """Return the next `count` numbers."""
        numbers = np.frombuffer(self.body, dtype, count, self.at)
        self.at += numbers.nbytes
        return numbers

    def align(self) -> None:
        """Skip to the next multiple of four bytes."""
        self.at += -self.at % 4


def unpack_tile(body: bytes) -> dict[int, dict[str, Any]]:
    """Return the number of each lane -> its kind and arrays.

    A lane of events has `x`, `w` (pixels) and `code` per event. A lane of pixels or of runs has
    `code` and `busy` per pixel, a lane of a counter `level` per pixel.
    """
    reader = TileReader(body)
    magic, version, _, count, pixels = reader.header(HEADER)
    assert (magic, version) == (b"PFTL", 1)
    lanes = {}
    for _ in range(count):
        number, kind, index_bytes, _, length, colors = reader.header(LANE)
        palette = reader.array("<u4", colors)
        lanes[number] = {
            "kind": kind,
            **unpack_lane(reader, kind, f"<u{index_bytes}", length, palette),
        }
        if "busy" in lanes[number]:
            assert len(lanes[number]["busy"]) == pixels
        reader.align()
    assert reader.at == len(body)
    return lanes


def unpack_lane(
    reader: TileReader, kind: int, index_type: str, length: int, palette: NDArray[Any]
) -> dict[str, Any]:
    """Return the arrays of one lane."""
    if kind == EVENTS:
        x, w = reader.array("<u2", length) / 8, reader.array("<u2", length) / 8
        return {"x": x, "w": w, "code": palette[reader.array(index_type, length)]}
    if kind == PIXELS:
        code = palette[reader.array(index_type, length)]
        return {"code": code, "busy": reader.array("u1", length)}
    if kind == RUNS:
        repeats = reader.array("<u2", length)
        code, busy = palette[reader.array(index_type, length)], reader.array("u1", length)
        return {"code": np.repeat(code, repeats), "busy": np.repeat(busy, repeats)}
    if kind == LEVELS:
        return {"level": reader.array("u1", length)}
    assert kind == EMPTY
    return {}
