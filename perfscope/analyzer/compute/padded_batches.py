"""The padding of a process's token batches, and the work that is done on columns of padding."""

import re
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.budget.cpu_work import computing_spans
from perfscope.analyzer.compute.operators_by_phase import phase_of
from perfscope.analyzer.run.table_access import column, rows_of, table
from perfscope.traces.trace import Trace

FEWEST_BATCHES: Final = 5
"""Batches of which at most one per second was looked at: an accident does not last five seconds."""
SAME_SHARE: Final = 0.8
"""The share of the batches that must be alike; the last batch of an epoch is smaller."""
CALL, LOADER = "call", "loader"
SKIPS_PADDING: Final = re.compile(
    r"_pack_padded_sequence|_nested_tensor_from_mask|_nested_from_padded|varlen|unpad_input"
)
"""Operators by which a model leaves out padding itself."""
ATTENTION: Final = re.compile(r"attention|sdpa", re.IGNORECASE)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Padding:
    """Batches of one width that are padded at the same end.

    `used` is the length of the longest row as a share of the width, `padded` the share of padding
    among all values; both are means over the batches.
    """

    batches: int
    source: str
    side: str
    rows: int
    width: int
    longest: float
    used: float
    padded: float
    masked: bool

    @property
    def unused(self) -> float:
        """The share of the columns that no row of a batch uses."""
        return 1.0 - self.used

    @property
    def left_after_trimming(self) -> float:
        """The share of padding in batches that are padded to their longest row."""
        return max((self.padded - self.unused) / max(self.used, 1e-9), 0.0)


def batch_padding(trace: Trace, process: int) -> Padding | None:
    """Return the padding of the process's batches; None where they are few, or not alike.

    What a model was called with counts more than what the loader returned. All batches count, also
    those without padding; most must have rows of different lengths, as sentences have.
    """
    rows = rows_of(trace, "padding", process)
    if rows is None:
        return None
    for source in (CALL, LOADER):
        found = alike_batches(rows[rows["source"] == source], source)
        if found is not None:
            return found
    return None


def alike_batches(rows: pd.DataFrame, source: str) -> Padding | None:
    """Return the padding of the batches of one source, None where they are few or not alike."""
    if len(rows) < FEWEST_BATCHES:
        return None
    width, side = rows["width"].mode().iloc[0], rows["side"].astype(str).mode().iloc[0]
    is_alike = (rows["width"] == width) & (rows["side"].astype(str) == side)
    differs = column(rows, "shortest") < column(rows, "longest")
    if side == "none" or (is_alike & differs).mean() < SAME_SHARE:
        return None
    alike = rows[is_alike]
    if len(alike) < FEWEST_BATCHES:
        return None
    cells = column(rows, "rows") * column(rows, "width")
    used = float(np.average(column(rows, "longest") / column(rows, "width"), weights=cells))
    return Padding(
        batches=len(rows),
        source=source,
        side=str(side),
        rows=int(alike["rows"].mode().iloc[0]),
        width=int(width),
        longest=float(column(alike, "longest").mean()),
        used=used,
        padded=float(np.average(rows["padded_share"].to_numpy(np.float64), weights=cells)),
        masked=bool(rows["masked"].any()),
    )


@dataclass(frozen=True)
class PaddedWork:
    """The work of a process's operators in its windows, as shares of all of it.

    `scales`: has the width of the batches among its sizes. `saved`: would not be done on batches of
    their longest row. `kept`: does not depend on the width.
    """

    scales: float
    saved: float

    @property
    def kept(self) -> float:
        """The share that does not depend on the width."""
        return 1.0 - self.scales


def padded_work(trace: Trace, process: int, padding: Padding) -> PaddedWork | None:
    """Return how much of the recorded work is done on columns that no row uses.

    An operator scales with the width where one of its inputs has it as a size, alone or times the
    rows; with its square where an input has it twice (scores of attention), or in attention.
    The optimizer's operators do not scale. None without operators, or where the model leaves out
    padding itself.
    """
    ops = table(trace, "ops")
    if ops is None:
        return None
    of_process = column(ops, "process") == process
    names = ops["name"].cat.categories[ops["name"].cat.codes[of_process].unique()]
    if not of_process.any() or any(SKIPS_PADDING.search(str(name)) for name in names):
        return None
    phase, ops = phase_of(trace, ops)[of_process], ops[of_process]
    begin, end, row = computing_spans(ops)
    lasted: Floats = np.bincount(row, end - begin, len(ops)).astype(np.float64)
    whole = float(lasted.sum())
    if whole <= 0.0:
        return None
    power = powers_of_width(ops, padding, sizes_in(ops[phase == "optimizer"]))
    power[phase == "optimizer"] = 0.0
    saved = lasted * (1.0 - padding.used**power)
    return PaddedWork(float(lasted[power > 0.0].sum()) / whole, float(saved.sum()) / whole)


def powers_of_width(ops: pd.DataFrame, padding: Padding, parameters: set[int]) -> Floats:
    """Return the power of the width that each operator's work is proportional to, 0 for none.

    Where parameters have the width among their sizes too, an input that has it twice may be one.
    """
    squares = padding.width not in parameters
    texts = ops["shapes"].cat.categories
    by_text = [power_of_width(str(text), padding, squares=squares) for text in texts]
    power: Floats = np.array([*by_text, 0.0])[ops["shapes"].cat.codes]
    names = ops["name"].cat.categories
    is_attention = np.array([*(ATTENTION.search(str(name)) is not None for name in names), False])
    power[is_attention[ops["name"].cat.codes] & (power > 0.0)] = 2.0
    return power


def power_of_width(shapes: str, padding: Padding, *, squares: bool) -> float:
    """Return the power of the width in the shapes of an operator's inputs, 0 where it has none."""
    wide = (padding.width, padding.rows * padding.width)
    counts = [sum(size in wide for size in shape) for shape in shapes_in(shapes)]
    return float(min(max(counts, default=0), 2 if squares else 1))


def shapes_in(text: str) -> list[list[int]]:
    """Return all shapes in the JSON text of an operator's inputs, also of those in lists."""
    try:
        decoded = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return []
    found: list[list[int]] = []
    waiting = [decoded]
    while waiting:
        value = waiting.pop()
        if not isinstance(value, list):
            continue
        sizes = [size for size in value if isinstance(size, int)]
        if sizes:
            found.append(sizes)
        waiting += [member for member in value if isinstance(member, list)]
    return found


def sizes_in(ops: pd.DataFrame) -> set[int]:
    """Return every size in the shapes of these operators' inputs."""
    texts = ops["shapes"].dropna().astype(str).unique()
    return {size for text in texts for shape in shapes_in(text) for size in shape}
