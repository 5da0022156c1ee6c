"""A reader of timeline tiles, written from the description of the format."""

import struct
from typing import Any

import numpy as np


def unpacked(body: bytes) -> dict[int, dict[str, Any]]:
    """Return number of the lane -> its kind and arrays, with an entry per event (x and w in pixels)
    or per pixel (busy), and the codes.
    """
    magic, version, _, count, pixels = struct.unpack_from("<4sHHII", body)
    assert (magic, version) == (b"PFTL", 1)
    at, found = 16, {}
    for _ in range(count):
        number, kind, wide, _, n, p = struct.unpack_from("<IBBHII", body, at)
        palette = np.frombuffer(body, "<u4", p, at + 16)
        at += 16 + 4 * p
        index_type = f"<u{wide}"
        if kind == 1:
            x, w = (
                np.frombuffer(body, "<u2", n, at) / 8,
                np.frombuffer(body, "<u2", n, at + 2 * n) / 8,
            )
            size = (4 + wide) * n
            found[number] = {
                "kind": kind,
                "x": x,
                "w": w,
                "code": palette[np.frombuffer(body, index_type, n, at + 4 * n)],
            }
        elif kind == 2:
            size = (1 + wide) * n
            code, busy = (
                palette[np.frombuffer(body, index_type, n, at)],
                np.frombuffer(body, "u1", n, at + wide * n),
            )
            found[number] = {"kind": kind, "code": code, "busy": busy}
        elif kind == 3:
            size = (3 + wide) * n
            length = np.frombuffer(body, "<u2", n, at)
            code = palette[np.frombuffer(body, index_type, n, at + 2 * n)]
            busy = np.frombuffer(body, "u1", n, at + (2 + wide) * n)
            found[number] = {
                "kind": kind,
                "code": np.repeat(code, length),
                "busy": np.repeat(busy, length),
            }
            assert length.sum() == pixels
        else:
            size = 0
            found[number] = {"kind": kind}
        at += size + (-size) % 4
    assert at == len(body)
    return found
