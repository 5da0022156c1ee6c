"""NVTX records of our own recordings, by the injection library or by the probe, as columns of table
`ranges`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Names = Mapping[tuple[int, int], str]
SIGNED, UNSIGNED, REAL = 1, 2, 3


def nvtx_columns(records: pd.DataFrame, names: Names) -> dict[str, Any]:
    """Columns of `ranges` for rows of kind NVTX (events.VALUES says what v0 .. v7 are); `names` by
    (process, code).
    """
    process = records["process"].to_numpy(np.int64)
    name = told(process, records["v0"], names)
    domain = told(process, records["v1"], names)
    shown = [
        text if not where else f"{where}:{text or ''}"
        for where, text in zip(domain, name, strict=True)
    ]
    return {
        **{
            column: records[column].to_numpy(np.int64) for column in ("process", "tid", "ts", "dur")
        },
        "category": np.full(len(records), "nvtx", object),
        "name": np.array(shown, object),
        "object": np.full(len(records), -1, np.int64),
        "value": np.full(len(records), -1, np.int64),
        "label": label(process, records, names),
        "payload": payload(records),
    }


def told(process: NDArray[np.int64], codes: "pd.Series[Any]", names: Names) -> NDArray[np.object_]:
    """The name of each code, None for -1 and for one that nobody told."""
    pairs = pd.MultiIndex.from_arrays([process, codes.to_numpy(np.int64)])
    where, different = pairs.factorize()
    found: NDArray[np.object_] = np.full(len(different) + 1, None, object)
    found[:-1] = [names.get(pair) for pair in different]
    named: NDArray[np.object_] = found[where]
    return named


def label(process: NDArray[np.int64], records: pd.DataFrame, names: Names) -> NDArray[np.object_]:
    """The NVTX category: its name, `#5` for one that has none, None for ranges of no category."""
    named = told(process, records["v2"], names)
    number = records["v3"].to_numpy(np.int64)
    return np.array(
        [
            said or (f"#{one}" if one >= 0 else None)
            for said, one in zip(named, number.tolist(), strict=True)
        ],
        object,
    )


def payload(records: pd.DataFrame) -> NDArray[np.float64]:
    """The number given along, NaN for none."""
    bits, kind = records["v4"].to_numpy(np.int64), records["v5"].to_numpy(np.int64)
    number = np.full(len(records), np.nan)
    number[kind == SIGNED] = bits[kind == SIGNED]
    number[kind == UNSIGNED] = bits[kind == UNSIGNED].view(np.uint64)
    number[kind == REAL] = bits[kind == REAL].view(np.float64)
    return number
