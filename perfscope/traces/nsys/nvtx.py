"""NVTX events: which are torch's operators, which are ranges of the user's, and what NCCL says of
its calls.

`torch.autograd.profiler.emit_nvtx` (also `nsys profile --pytorch=autograd-nvtx`) names its ranges
after operators: `aten::mm, seq = 12, op_id = 34, sizes = [[8, 8], [8, 8]]`. Every other range is
somebody's own.
"""

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints
from perfscope.traces.nesting import enclosing
from perfscope.traces.nsys.database import Database, Named, Rows, named
from perfscope.traces.nsys.identity import Identity, process_key, thread_id
from perfscope.traces.trace import framed, unlabelled

TYPES = {34: "NvtxMark", 59: "NvtxPushPopRange", 60: "NvtxStartEndRange", 75: "NvtxDomainCreate"}
"""Event types that are read, by the numbers they had in every version so far; an export says them
in a table of its own.
"""
EXTENDED = {
    "NvtxtMark": "NvtxMark",
    "NvtxtPushPopRange": "NvtxPushPopRange",
    "NvtxtStartEndRange": "NvtxStartEndRange",
}
OPERATOR = (
    r"^(?P<name>.*?)(?:, seq = (?P<seq>-?[0-9]{1,18}))?, op_id = [0-9]+"
    r"(?:, sizes = (?P<sizes>\[.*?\]))?(?:, input_op_ids = .*)?$"
)
MARK_OF_TORCH = re.compile(r"^(Optimizer\.|enumerate\(DataLoader\)|ProfilerStep)")
STEP = re.compile(r"^ProfilerStep\s*#\s*\d+$")
OF_THE_EVENT = ("eventType", "globalTid", "domainId")


def nvtx_events(database: Database) -> Rows:
    """All NVTX events that have a time, with the column `name`."""
    rows = database.events(
        "NVTX_EVENTS", OF_THE_EVENT, ("text", "textId", "jsonText", "jsonTextId"), open_ends=True
    )
    rows.names["name"] = rows.names.pop("text").either(rows.names.pop("textId"))
    rows.names["payload"] = rows.names.pop("jsonText").either(rows.names.pop("jsonTextId"))
    return rows


class Nvtx:
    """NVTX events sorted into operators and ranges; marks have no duration, open ranges end with
    the capture.
    """

    def __init__(self, database: Database, rows: Rows, last_ns: int) -> None:
        labels = database.labels("ENUM_NSYS_EVENT_TYPE", TYPES, "name")
        meaning = {number: EXTENDED.get(label, label) for number, label in labels.items()}
        type_ids = rows.numbers("eventType")
        self.left_out, self.domains = (
            rows.left_out,
            domains(rows, ids_of(meaning, type_ids, "NvtxDomainCreate")),
        )
        mark = ids_of(meaning, type_ids, "NvtxMark")
        timed = ids_of(meaning, type_ids, "NvtxPushPopRange") | ids_of(
            meaning, type_ids, "NvtxStartEndRange"
        )
        unended = rows.numbers("dur") < 0
        self.open = int((timed & unended).sum())
        start = rows.numbers("start")
        lasting = np.where(unended, np.maximum(last_ns - start, 0), rows.numbers("dur"))
        rows.columns["dur"] = np.where(mark, 0, lasting)
        self.nested = ids_of(meaning, type_ids, "NvtxPushPopRange")
        kept = timed | mark
        self.rows, self.nested = rows.where(kept), self.nested[kept]
        self.split()

    def split(self) -> None:
        """Into `ops` and `ranges`."""
        name = self.rows.names["name"]
        parts = pc.extract_regex(pa.array(name.texts, pa.string()), pattern=OPERATOR)
        plain = parts.field("name").to_pylist() if len(name.texts) else []
        whole = [
            None if not ok else text
            for ok, text in zip(parts.is_valid().to_pylist(), plain, strict=True)
        ]
        operator = np.array(
            [text is not None and not MARK_OF_TORCH.match(text) for text in whole] + [False], bool
        )
        is_op = operator[name.codes] & self.nested
        self.ops, self.ranges = self.rows.where(is_op), self.rows.where(~is_op)
        sequence = [int(one) if one else -1 for one in parts.field("seq").to_pylist()]
        sizes = [one or None for one in parts.field("sizes").to_pylist()]
        self.ops.columns["sequence"] = np.array([*sequence, -1], np.int64)[
            self.ops.names["name"].codes
        ]
        self.ops.names["shapes"] = named(self.ops.names["name"].codes, sizes)
        self.ops.names["name"] = named(self.ops.names["name"].codes, whole)
        shown = [
            text if short is None else short for text, short in zip(name.texts, whole, strict=True)
        ]
        self.ranges.names["name"] = self.with_domain(named(self.ranges.names["name"].codes, shown))

    def with_domain(self, name: Named) -> Named:
        """Names as `domain:name`, as Nsight writes them; plain where the domain is the default or
        has no name.
        """
        if not self.domains:
            return name
        key, domain = process_key(self.ranges.numbers("globalTid")), self.ranges.numbers("domainId")
        rows = np.stack([key, domain, name.codes.astype(np.int64)])
        different, place = np.unique(rows, axis=1, return_inverse=True)
        said = [
            (self.domains.get((k, d)), name.texts[c] if c >= 0 else None)
            for k, d, c in different.T.tolist()
        ]
        return named(place.ravel(), [t if d is None or t is None else f"{d}:{t}" for d, t in said])


def ids_of(meaning: dict[int, str], types: Ints, wanted: str) -> NDArray[np.bool_]:
    return np.isin(types, [number for number, label in meaning.items() if label == wanted])


def domains(rows: Rows, created: NDArray[np.bool_]) -> dict[tuple[int, int], str]:
    """Names of domains by process and number."""
    made, name = rows.where(created), rows.names["name"]
    keys = zip(
        process_key(made.numbers("globalTid")).tolist(),
        made.numbers("domainId").tolist(),
        strict=True,
    )
    texts = (name.texts[code] if code >= 0 else "" for code in made.names["name"].codes.tolist())
    return {key: text for key, text in zip(keys, texts, strict=True) if text}


def where_and_when(rows: Rows, process: Ints) -> dict[str, Ints]:
    tid = thread_id(rows.numbers("globalTid"))
    return {"process": process, "tid": tid, "ts": rows.numbers("start"), "dur": rows.numbers("dur")}


def around(inner: Rows, outer: Rows) -> Ints:
    """For each row of `inner` the row of `outer` that holds its start on its thread, the innermost;
    -1 for none.

    `inner` may be `outer` itself: then each row's parent.
    """
    same = inner is outer
    parts = [outer] if same else [outer, inner]
    thread, start, dur = (
        np.concatenate([p.numbers(n) for p in parts]) for n in ("globalTid", "start", "dur")
    )
    holds = np.arange(len(start)) < len(outer)
    found = enclosing(thread, start, start + dur, holds)
    return found if same else found[len(outer) :]


def op_table(ops: Rows, who: Identity) -> pd.DataFrame:
    """Table `ops`, in the order of the rows."""
    missing = np.full(len(ops), -1, np.int64)
    return framed(
        "ops",
        {
            **where_and_when(ops, who.processes(ops.numbers("globalTid"))),
            "name": ops.names["name"].category(),
            "parent": around(ops, ops),
            "sequence": ops.numbers("sequence"),
            "forward_tid": missing,
            "shapes": ops.names["shapes"].category(),
            **{name: named(missing, []).category() for name in ("dtypes", "strides", "concrete")},
        },
    )


def range_rows(ranges: Rows, who: Identity) -> pd.DataFrame:
    """Table `ranges` of the NVTX events that are no operators."""
    name = ranges.names["name"]
    kinds = [
        "step" if STEP.match(text) else "annotation" if MARK_OF_TORCH.match(text) else "nvtx"
        for text in name.texts
    ]
    of_name = np.where(name.codes >= 0, name.codes, len(kinds))
    return range_table(ranges, who, named(of_name, [*kinds, "nvtx"]), name)


def range_table(rows: Rows, who: Identity, category: Named, name: Named) -> pd.DataFrame:
    missing = np.full(len(rows), -1, np.int64)
    return framed(
        "ranges",
        {
            **where_and_when(rows, who.processes(rows.numbers("globalTid"))),
            "category": category.category(),
            "name": name.category(),
            "object": missing,
            "value": missing,
            **unlabelled(len(rows)),
        },
    )
