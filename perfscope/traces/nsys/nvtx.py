"""NVTX events of an export, divided into torch's operators and other ranges.

`torch.autograd.profiler.emit_nvtx` (also `nsys profile --pytorch=autograd-nvtx`) names its ranges
after operators: `aten::mm, seq = 12, op_id = 34, sizes = [[8, 8], [8, 8]]`.
"""

import re
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints
from perfscope.traces.naming import PROFILER_STEP
from perfscope.traces.nesting import enclosing
from perfscope.traces.nsys.database import Database, NameColumn, Rows, name_column_of
from perfscope.traces.nsys.identity import NsysProcesses, process_key, thread_id
from perfscope.traces.trace import make_empty_nvtx_columns, make_table

EVENT_TYPES: Final = {
    34: "NvtxMark",
    59: "NvtxPushPopRange",
    60: "NvtxStartEndRange",
    75: "NvtxDomainCreate",
}
"""Event types by the numbers they had in every version so far, for exports without a table of
them.
"""
PLAIN_TYPES: Final = {
    "NvtxtMark": "NvtxMark",
    "NvtxtPushPopRange": "NvtxPushPopRange",
    "NvtxtStartEndRange": "NvtxStartEndRange",
}
"""Types with extended payloads -> the types that mean the same without."""
OPERATOR: Final = (
    r"^(?P<name>.*?)(?:, seq = (?P<seq>-?[0-9]{1,18}))?, op_id = [0-9]+"
    r"(?:, sizes = (?P<sizes>\[.*?\]))?(?:, input_op_ids = .*)?$"
)
TORCH_ANNOTATION: Final = re.compile(r"^(Optimizer\.|enumerate\(DataLoader\)|ProfilerStep)")
EVENT_COLUMNS: Final = ("eventType", "globalTid", "domainId")
TEXT_COLUMNS: Final = ("text", "textId", "jsonText", "jsonTextId")


def read_nvtx_rows(database: Database) -> Rows:
    """Return all NVTX events that have a time, with the name columns `name` and `payload`."""
    rows = database.events("NVTX_EVENTS", EVENT_COLUMNS, TEXT_COLUMNS, open_ends=True)
    names = rows.names
    names["name"] = names.pop("text").with_fallback(names.pop("textId"))
    names["payload"] = names.pop("jsonText").with_fallback(names.pop("jsonTextId"))
    return rows


class NvtxEvents:
    """NVTX events as `ops` and `ranges`. Marks have no duration, and open ranges end with the
    recording.
    """

    def __init__(self, database: Database, rows: Rows, last_ns: int) -> None:
        labels = database.labels("ENUM_NSYS_EVENT_TYPE", EVENT_TYPES, "name")
        meaning = {number: PLAIN_TYPES.get(label, label) for number, label in labels.items()}
        types = rows.numbers("eventType")
        is_mark = has_type(types, meaning, "NvtxMark")
        is_nested = has_type(types, meaning, "NvtxPushPopRange")
        is_range = is_nested | has_type(types, meaning, "NvtxStartEndRange")
        self.domains = domain_names(rows, has_type(types, meaning, "NvtxDomainCreate"))
        is_open = rows.numbers("dur") < 0
        self.open_count = int((is_range & is_open).sum())
        until_end = np.maximum(last_ns - rows.numbers("start"), 0)
        dur = np.where(is_open, until_end, rows.numbers("dur"))
        rows.columns["dur"] = np.where(is_mark, 0, dur)
        is_kept = is_range | is_mark
        self.split(rows.where(is_kept), is_nested[is_kept])

    def split(self, rows: Rows, is_nested: NDArray[np.bool_]) -> None:
        """Divide the rows into `ops` and `ranges`. Only nested ranges can be operators."""
        name = rows.names["name"]
        matches = pc.extract_regex(pa.array(name.texts, pa.string()), pattern=OPERATOR)
        op_names: list[str | None] = [None] * len(name.texts)
        if len(name.texts):
            parsed = matches.field("name").to_pylist()
            is_match = matches.is_valid().to_pylist()
            op_names = [text if ok else None for text, ok in zip(parsed, is_match, strict=True)]
        is_op_name = [text is not None and not TORCH_ANNOTATION.match(text) for text in op_names]
        is_op = np.array([*is_op_name, False], bool)[name.codes] & is_nested
        self.ops, self.ranges = rows.where(is_op), rows.where(~is_op)
        sequences = [int(text) if text else -1 for text in matches.field("seq").to_pylist()]
        sizes = [text or None for text in matches.field("sizes").to_pylist()]
        codes = self.ops.names["name"].codes
        self.ops.columns["sequence"] = np.array([*sequences, -1], np.int64)[codes]
        self.ops.names["shapes"] = name_column_of(codes, sizes)
        self.ops.names["name"] = name_column_of(codes, op_names)
        range_names = [
            text if op_name is None else op_name
            for text, op_name in zip(name.texts, op_names, strict=True)
        ]
        codes = self.ranges.names["name"].codes
        self.ranges.names["name"] = self.with_domains(name_column_of(codes, range_names))

    def with_domains(self, name: NameColumn) -> NameColumn:
        """Return the names of `ranges` as `domain:name`, as Nsight shows them; plain for the
        default domain and for one without a name.
        """
        if not self.domains:
            return name
        key, domain = process_key(self.ranges.numbers("globalTid")), self.ranges.numbers("domainId")
        rows = np.stack([key, domain, name.codes.astype(np.int64)])
        different, place = np.unique(rows, axis=1, return_inverse=True)
        texts: list[str | None] = []
        for process, number, code in different.T.tolist():
            domain_name = self.domains.get((process, number))
            text = name.texts[code] if code >= 0 else None
            has_both = domain_name is not None and text is not None
            texts.append(f"{domain_name}:{text}" if has_both else text)
        return name_column_of(place.ravel(), texts)


def has_type(types: Ints, meaning: dict[int, str], wanted: str) -> NDArray[np.bool_]:
    """Return which events have a type."""
    return np.isin(types, [number for number, label in meaning.items() if label == wanted])


def domain_names(rows: Rows, is_creation: NDArray[np.bool_]) -> dict[tuple[int, int], str]:
    """Return the names of domains, by process and number, from the events that create them."""
    created = rows.where(is_creation)
    processes = process_key(created.numbers("globalTid")).tolist()
    numbers = created.numbers("domainId").tolist()
    name = created.names["name"]
    names = {}
    for process, number, code in zip(processes, numbers, name.codes.tolist(), strict=True):
        if code >= 0 and name.texts[code]:
            names[process, number] = name.texts[code]
    return names


def row_columns(rows: Rows, process: Ints) -> dict[str, Ints]:
    """Return the columns that every table of the host has."""
    tid = thread_id(rows.numbers("globalTid"))
    return {"process": process, "tid": tid, "ts": rows.numbers("start"), "dur": rows.numbers("dur")}


def enclosing_rows(inner: Rows, outer: Rows) -> Ints:
    """Return for each row of `inner` the innermost row of `outer` that is open on its thread when
    it starts, -1 for none.

    `inner` may be `outer` itself. The result is then the parent of each row.
    """
    is_same = inner is outer
    parts = [outer] if is_same else [outer, inner]
    thread, start, dur = (
        np.concatenate([rows.numbers(name) for rows in parts])
        for name in ("globalTid", "start", "dur")
    )
    is_outer = np.arange(len(start)) < len(outer)
    row = enclosing(thread, start, start + dur, is_outer)
    return row if is_same else row[len(outer) :]


def nsys_op_table(ops: Rows, processes: NsysProcesses) -> pd.DataFrame:
    """Return table `ops`, in the order of the rows."""
    missing = np.full(len(ops), -1, np.int64)
    not_recorded = name_column_of(missing, []).category()
    return make_table(
        "ops",
        {
            **row_columns(ops, processes.codes(ops.numbers("globalTid"))),
            "name": ops.names["name"].category(),
            "parent": enclosing_rows(ops, ops),
            "sequence": ops.numbers("sequence"),
            "forward_tid": missing,
            "shapes": ops.names["shapes"].category(),
            **dict.fromkeys(("dtypes", "strides", "concrete"), not_recorded),
        },
    )


def nvtx_range_table(ranges: Rows, processes: NsysProcesses) -> pd.DataFrame:
    """Return table `ranges` of the NVTX events that are not operators."""
    name = ranges.names["name"]
    categories = [nvtx_category(text) for text in name.texts]
    codes = np.where(name.codes >= 0, name.codes, len(categories))
    return nsys_range_table(ranges, processes, name_column_of(codes, [*categories, "nvtx"]), name)


def nvtx_category(name: str) -> str:
    """Return the category of a range: step, annotation (made by torch) or nvtx."""
    if PROFILER_STEP.match(name):
        return "step"
    return "annotation" if TORCH_ANNOTATION.match(name) else "nvtx"


def nsys_range_table(
    rows: Rows, processes: NsysProcesses, category: NameColumn, name: NameColumn
) -> pd.DataFrame:
    """Return table `ranges`, in the order of the rows."""
    missing = np.full(len(rows), -1, np.int64)
    return make_table(
        "ranges",
        {
            **row_columns(rows, processes.codes(rows.numbers("globalTid"))),
            "category": category.category(),
            "name": name.category(),
            "object": missing,
            "value": missing,
            **make_empty_nvtx_columns(len(rows)),
        },
    )
