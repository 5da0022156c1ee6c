"""Masks secrets in the tables and the manifest of a trace, and removes characters from them that
change how other text is shown.

The names of ranges, operators, threads and processes are chosen by the program that was recorded,
and may contain secrets. Each different name is masked once.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from perfscope.traces.privacy.secret_forms import FORM_HINTS
from perfscope.traces.privacy.secret_masking import (
    NAME_HINTS,
    PROGRAM_OPTIONS,
    mask_secrets,
    mask_values,
    masked_text,
)
from perfscope.traces.run_folder.manifest import Manifest
from perfscope.traces.schema import TABLES
from perfscope.traces.shown_text import CONTROL, shown_text, shown_values

NOT_TEXT_OF_THE_TRACE: Final = {("ranks", "source")}
"""The path of the trace, which comes from the user."""
HINTS: Final = "|".join(re.escape(hint.rstrip("=")) for hint in NAME_HINTS)
SUSPECT: Final = "|".join(
    (
        *map(re.escape, (*FORM_HINTS, *PROGRAM_OPTIONS)),
        rf"""(?i:(?:{HINTS})[\w.\-]*(?:\[\w*\]|\])?\\*["']?[\s\x0b]*(?:[:=](?:[^:=]|$)|:=|=:))""",
        rf"""(?i:(?:{HINTS})[\w.\-]*(?:["'][\s\x0b]*[\],]|["']?[\s\x0b,]+["']?value|%(?:25)?3d))""",
        rf"""(?i:<[\w:.\-]*(?:{HINTS})[\w.\-]*(?:[\s\x0b][^<>]*)?>[^<])""",
        rf"""(?i:value["'][\s\x0b]*:.*(?:{HINTS}))""",
        "setenv|setx|aws configure set",
        rf"""(?i:(?:^|[\s\x0b"'=(\[,;])-[\w.\-]*(?:{HINTS})[\w.\-]*[\s\x0b])""",
        CONTROL.pattern,
    )
)
"""A pattern for RE2. It matches every text that `masked_text` or `shown_text` changes, and few
others.
"""


def masked_tables(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the tables with the secrets in their names masked, and without controls in names. A
    table without either is not copied.
    """
    result = dict(tables)
    columns = name_categories(tables)
    if not columns:
        return result
    suspects_of_columns = suspects(list(columns.values()))
    for ((table, column), names), positions in zip(
        columns.items(), suspects_of_columns, strict=True
    ):
        masked = {
            at: text
            for at in positions
            if (text := shown_text(masked_text(names[at]))) != names[at]
        }
        if masked:
            changed = [masked.get(at, name) for at, name in enumerate(names)]
            result[table] = result[table].assign(
                **{column: recode_column(result[table][column], changed)}
            )
    return result


def name_categories(tables: Mapping[str, pd.DataFrame]) -> "dict[tuple[str, str], pd.Index[str]]":
    """Return the different names of each column of names, by (table, column)."""
    return {
        (name, column.name): names.categories
        for name, table in tables.items()
        for column in TABLES[name]
        if column.dtype == "category" and column.name in table
        if (name, column.name) not in NOT_TEXT_OF_THE_TRACE
        if isinstance(names := table[column.name].array, pd.Categorical) and len(names.categories)
    }


def suspects(columns: "list[pd.Index[str]]") -> list[list[int]]:
    """Return for each column the positions of the names that may contain a secret or a control.

    A trace has tens of thousands of names. RE2 excludes most of them in one call, because preparing
    the pattern takes time.
    """
    try:
        texts = [pa.array(names, pa.large_string(), from_pandas=True) for names in columns]
        matches = pc.match_substring_regex(pa.concat_arrays(texts), SUSPECT).to_numpy(
            zero_copy_only=False
        )
    except (pa.ArrowException, UnicodeError, TypeError):  # surrogates, which Arrow cannot represent
        return [list(range(len(names))) for names in columns]
    ends = np.cumsum([len(names) for names in columns])
    return [np.flatnonzero(part).tolist() for part in np.split(matches, ends[:-1])]


def recode_column(column: "pd.Series[str]", names: list[str]) -> "pd.Categorical[str]":
    """Return a column with new names for its categories, some of which may be equal now."""
    places = {name: at for at, name in enumerate(dict.fromkeys(names))}
    place = np.array([*(places[name] for name in names), -1], np.int64)
    return pd.Categorical.from_codes(
        place[column.cat.codes.to_numpy()], categories=pd.Index(list(places), dtype=str)
    )


def masked_manifest(manifest: Manifest) -> Manifest:
    """Return the manifest with its texts masked and without controls, and its command line masked
    also by its options.
    """
    command = [shown_text(word) for word in mask_secrets(manifest.command)]
    values = shown_values(mask_values(msgspec.to_builtins(manifest)))
    masked: Manifest = msgspec.convert(values, Manifest)
    masked.command = command
    return masked
