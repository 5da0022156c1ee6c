"""NVTX records of a run folder, written by the injection library or by the probe, as columns of
table `ranges`.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

CodeNames = Mapping[tuple[int, int], str]
"""(process code, code of a name) -> name."""
# Types of payloads; see `events.VALUES`.
SIGNED: Final = 1
UNSIGNED: Final = 2
DOUBLE: Final = 3


def nvtx_columns(records: pd.DataFrame, names: CodeNames) -> dict[str, Any]:
    """Return the columns of `ranges` for records of kind NVTX. `events.VALUES` says what their
    values v0 to v7 are.
    """
    process = records["process"].to_numpy(np.int64)
    name = names_of_codes(process, records["v0"], names)
    domain = names_of_codes(process, records["v1"], names)
    full_names = [
        f"{domain_name}:{text or ''}" if domain_name else text
        for domain_name, text in zip(domain, name, strict=True)
    ]
    unchanged = ("process", "tid", "ts", "dur")
    missing = np.full(len(records), -1, np.int64)
    return {
        **{column: records[column].to_numpy(np.int64) for column in unchanged},
        "category": np.full(len(records), "nvtx", object),
        "name": np.array(full_names, object),
        "object": missing,
        "value": missing,
        "label": category_labels(process, records, names),
        "payload": payload_numbers(records),
    }


def names_of_codes(
    process: NDArray[np.int64], codes: "pd.Series[Any]", names: CodeNames
) -> NDArray[np.object_]:
    """Return the name of each code, None for -1 and for a code without a name."""
    pairs = pd.MultiIndex.from_arrays([process, codes.to_numpy(np.int64)])
    place, different = pairs.factorize()
    name_of_place: NDArray[np.object_] = np.full(len(different) + 1, None, object)
    name_of_place[:-1] = [names.get(pair) for pair in different]
    found: NDArray[np.object_] = name_of_place[place]
    return found


def category_labels(
    process: NDArray[np.int64], records: pd.DataFrame, names: CodeNames
) -> NDArray[np.object_]:
    """Return the NVTX category of each range: its name, `#5` for one without a name, None for a
    range without a category.
    """
    category_names = names_of_codes(process, records["v2"], names)
    labels = []
    for name, number in zip(category_names, records["v3"].tolist(), strict=True):
        numbered = f"#{number}" if number >= 0 else None
        labels.append(name or numbered)
    return np.array(labels, object)


def payload_numbers(records: pd.DataFrame) -> NDArray[np.float64]:
    """Return the number in the payload of each range, NaN for none."""
    bits, kind = records["v4"].to_numpy(np.int64), records["v5"].to_numpy(np.int64)
    numbers = np.full(len(records), np.nan)
    numbers[kind == SIGNED] = bits[kind == SIGNED]
    numbers[kind == UNSIGNED] = bits[kind == UNSIGNED].view(np.uint64)
    numbers[kind == DOUBLE] = bits[kind == DOUBLE].view(np.float64)
    return numbers
