"""Masks secrets in what a reader has made of a trace: its names, once each, and its manifest.

A trace is written by a stranger's program: names of ranges, operators, threads and processes hold
what that program put there.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from perfscope.traces.run.manifest import Manifest
from perfscope.traces.secret_masking import (
    FORM_HINTS,
    NAME_HINTS,
    mask_secrets,
    mask_values,
    masked_text,
)

NOT_TEXT_OF_THE_TRACE: Final = {("ranks", "source")}
"""The path by which the reader knows the file."""
HINTS: Final = "|".join(re.escape(hint.rstrip("=")) for hint in NAME_HINTS)
SUSPECT: Final = "|".join(
    (
        *map(re.escape, FORM_HINTS),
        rf"""(?i:(?:{HINTS})[\w.\-]*\\*["']?[\s\x0b]*[:=](?:[^:=]|$))""",
        rf"""(?i:(?:^|[\s\x0b"'=(\[,;])-[\w.\-]*(?:{HINTS})[\w.\-]*[\s\x0b])""",
    )
)
"""For RE2. Every text that `masked_text` changes matches it, few others do."""


def masked_tables(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the tables with the secrets in their names masked; a table without any is the same
    one.
    """
    result = dict(tables)
    columns = categories(tables)
    if not columns:
        return result
    found = suspects(list(columns.values()))
    for (table, column), names in columns.items():
        masked = {at: text for at in found.pop(0) if (text := masked_text(names[at])) != names[at]}
        if masked:
            changed = [masked.get(at, name) for at, name in enumerate(names)]
            result[table] = result[table].assign(
                **{column: recoded(result[table][column], changed)}
            )
    return result


def categories(tables: Mapping[str, pd.DataFrame]) -> "dict[tuple[str, str], pd.Index[str]]":
    """Return the names that each column of names holds, by table and column."""
    return {
        (name, str(column)): dtype.categories
        for name, table in tables.items()
        for column, dtype in table.dtypes.items()
        if isinstance(dtype, pd.CategoricalDtype) and len(dtype.categories)
        if (name, column) not in NOT_TEXT_OF_THE_TRACE
    }


def suspects(columns: "list[pd.Index[str]]") -> list[list[int]]:
    """Return for each column the positions of the names that may hold a secret.

    A trace has tens of thousands of names: RE2 passes over the others, in one call, for the pattern
    takes time to prepare.
    """
    try:
        texts = [pa.array(names, pa.large_string(), from_pandas=True) for names in columns]
        matches = pc.match_substring_regex(pa.concat_arrays(texts), SUSPECT).to_numpy(
            zero_copy_only=False
        )
    except (pa.ArrowException, UnicodeError, TypeError):  # surrogates, which Arrow has no place for
        return [list(range(len(names))) for names in columns]
    ends = np.cumsum([len(names) for names in columns])
    return [np.flatnonzero(part).tolist() for part in np.split(matches, ends[:-1])]


def recoded(column: "pd.Series[str]", names: list[str]) -> "pd.Categorical[str]":
    """Return the column with other names for its categories, of which some may have become
    equal.
    """
    places = {name: at for at, name in enumerate(dict.fromkeys(names))}
    place = np.array([*(places[name] for name in names), -1], np.int64)
    return pd.Categorical.from_codes(
        place[column.cat.codes.to_numpy()], categories=pd.Index(list(places), dtype=str)
    )


def masked_manifest(manifest: Manifest) -> Manifest:
    """Return the manifest with every text in it masked, the command line by its options as well."""
    command = mask_secrets(manifest.command)
    masked: Manifest = msgspec.convert(mask_values(msgspec.to_builtins(manifest)), Manifest)
    masked.command = command
    return masked
