"""Counts the padding of token batches: how much of the width of a batch no row uses.

At most one batch per second of the data loader, and one of the model's calls, is looked at. Its
tensors of token ids are read from memory without any operator of torch, and only counts leave the
process. Only tensors of exactly torch's class are read, on the CPU, contiguous, and of a bounded
size; and none while torch traces, transforms or records what is called.

The padding is a run of one value at the same end of the rows. That the tensor holds token ids at
all is decided here too, because the values stay here: several different values, none of them
negative, and hardly any of the padding's value elsewhere in the rows.
"""

import sys
import time
from _thread import get_native_id
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from perfscope.agent.probe.core import InstalledProbe

MODULES: "dict[str, Any]" = globals().get("MODULES", {})  # the probe's other files, set before

EVERY_NS = 1_000_000_000
# Of the time of the thread that is looked at: after an expensive look the next one is later.
MOST_SHARE = 0.0005
MOST_BYTES = 1 << 19
MOST_ROWS = 256
FEWEST_ROWS, NARROWEST = 2, 16
MOST_TENSORS, DEEPEST, LARGEST_DICT = 16, 3, 64
# Rows whose exact length is counted, and values of each of them that are compared.
COUNTED_ROWS, COMPARED_VALUES = 16, 16
# Labels, masks and one-hot vectors have fewer different values.
FEWEST_VALUES = 4
MOST_INSIDE = 0.05
MASKS = frozenset(("attention_mask", "decoder_attention_mask", "padding_mask", "mask"))
NOT_TOKENS = frozenset(
    ("labels", "label", "targets", "target", "position_ids", "token_type_ids", "segment_ids")
)
NO_SIDE, RIGHT, LEFT = 0, 1, 2
LOADER, CALL = 1, 2


def install(probe: "InstalledProbe") -> None:
    """Look at batches from now on, if this torch shows whether it is safe to."""
    torch, ctypes = sys.modules.get("torch"), sys.modules.get("ctypes")
    if torch is None or ctypes is None or MODULES["process_state"].in_worker():
        return
    is_undisturbed = check_of_modes(torch)
    if is_undisturbed is None:
        return
    reader = TensorReader(torch, ctypes.string_at)
    probe.loaded.append(PaddingCounter(probe, reader, is_undisturbed, LOADER).look)
    probe.called.append(PaddingCounter(probe, reader, is_undisturbed, CALL).look)


def check_of_modes(torch: Any) -> "Callable[[], bool] | None":
    """Return a function that says whether nothing sees what is asked of a tensor.

    It is None if this torch does not show that. Tracing would record the question in its graph, and
    a mode of the program would be called for it.
    """
    internal = torch._C
    functorch = getattr(internal, "_functorch", None)
    tracing = getattr(internal, "_get_tracing_state", None)
    functions = getattr(internal, "_len_torch_function_stack", None)
    dispatches = getattr(internal, "_len_torch_dispatch_stack", None)
    level = getattr(functorch, "maybe_current_level", None)
    if tracing is None or functions is None or dispatches is None or level is None:
        return None

    def is_undisturbed() -> bool:
        return tracing() is None and not functions() and not dispatches() and level() is None

    return is_undisturbed


class PaddingCounter:
    """Looks at one source of batches; `source` is LOADER or CALL."""

    def __init__(
        self,
        probe: "InstalledProbe",
        reader: "TensorReader",
        is_undisturbed: "Callable[[], bool]",
        source: int,
    ) -> None:
        self.kind, self.put = probe.kinds["PADDING"], probe.records.append
        self.reader, self.is_undisturbed, self.source = reader, is_undisturbed, source
        self.due_ns = 0

    def look(self, batch: Any) -> None:
        """Count the padding of a batch, where that is due."""
        began_ns = time.monotonic_ns()
        if began_ns < self.due_ns:
            return
        self.due_ns = began_ns + EVERY_NS
        if not self.is_undisturbed():
            return
        found = self.reader.largest_tokens(batch)
        took_ns = time.monotonic_ns() - began_ns
        self.due_ns = max(self.due_ns, began_ns + int(took_ns / MOST_SHARE))
        if found is not None:
            self.put((self.kind, get_native_id(), began_ns, took_ns, self.source, *found))


class TensorReader:
    """Finds the tensors of a batch, and reads those of token ids."""

    def __init__(self, torch: Any, string_at: "Callable[[int, int], bytes]") -> None:
        self.tensor, self.strided, self.string_at = torch.Tensor, torch.strided, string_at
        self.sizes = {torch.int64: 8, torch.int32: 4, torch.bool: 1}
        self.formats = {8: "q", 4: "i", 1: "b"}

    def largest_tokens(self, batch: Any) -> "tuple[int, ...] | None":
        """Return the values of a record about the largest tensor of token ids, None without one.

        Of several of one size it is the one with the least padding.
        """
        readable = self.read_all(batch)
        masks = [rows for name, rows in readable if name in MASKS]
        best = None
        for name, rows in readable:
            if name in MASKS:
                continue
            found = token_lengths(rows, [mask for mask in masks if mask.shape == rows.shape])
            if found is None:
                continue
            order = (rows.count * rows.width, found[2])
            if best is None or order > best[0]:
                best = (order, found)
        return None if best is None else best[1]

    def read_all(self, batch: Any) -> "list[tuple[str, TokenRows]]":
        """Return the names and rows of the tensors that can be token ids or masks.

        Empty if they are larger than MOST_BYTES in all: a part says nothing about the batch.
        """
        readable = []
        left = MOST_BYTES
        for name, tensor in islice(self.tensors_in(batch, "", DEEPEST), MOST_TENSORS):
            if name in NOT_TOKENS or not self.may_be_read(tensor, is_mask=name in MASKS):
                continue
            count, width = tensor.shape
            size = self.sizes[tensor.dtype]
            left -= count * width * size
            if count > MOST_ROWS or left < 0:
                return []
            readable.append((name, self.read(tensor, count, width, size)))
        return readable

    def tensors_in(self, thing: Any, name: str, depth: int) -> "Iterator[tuple[str, Any]]":
        """Yield the tensors in dicts, lists and tuples, with the name of the dict's member.

        No method of a class of the program is called.
        """
        kind = type(thing)
        if kind is self.tensor:
            yield name, thing
        elif depth and issubclass(kind, (tuple, list)):
            base = tuple if issubclass(kind, tuple) else list
            for member in base.__getitem__(thing, slice(None, MOST_TENSORS)):
                yield from self.tensors_in(member, name, depth - 1)
        elif depth and issubclass(kind, dict):
            if dict.__len__(thing) > LARGEST_DICT:
                return
            for key, member in tuple(dict.items(thing)):
                text = key if type(key) is str else ""
                yield from self.tensors_in(member, text, depth - 1)
        elif depth:
            # A UserDict, such as the BatchEncoding of transformers.
            members = MODULES["loader"].attribute_of(thing, "data")
            if type(members) is dict:
                yield from self.tensors_in(members, name, depth)

    def may_be_read(self, tensor: Any, *, is_mask: bool) -> bool:
        """Return whether a tensor can be token ids (or a mask), and its memory may be read."""
        size = self.sizes.get(tensor.dtype)
        if size is None or (size == 1 and not is_mask) or tensor.is_nested:
            return False
        if tensor.layout is not self.strided or tensor.device.type != "cpu" or tensor.dim() != 2:
            return False
        count, width = tensor.shape
        if count < FEWEST_ROWS or width < NARROWEST or not tensor.is_contiguous():
            return False
        end = (tensor.storage_offset() + count * width) * size
        return bool(end <= tensor.untyped_storage().nbytes() and tensor.data_ptr())

    def read(self, tensor: Any, count: int, width: int, size: int) -> "TokenRows":
        """Return the rows of a tensor, read from its memory."""
        address, row = tensor.data_ptr(), width * size
        texts = [self.string_at(address + at * row, row) for at in range(count)]
        return TokenRows(texts, width, size, self.formats[size])


class TokenRows:
    """The rows of a tensor as bytes, and the lengths of runs at their ends."""

    def __init__(self, texts: "list[bytes]", width: int, size: int, form: str) -> None:
        self.texts, self.width, self.size, self.form = texts, width, size, form
        self.count = len(texts)
        self.shape = (self.count, width)
        # The rows whose exact lengths are counted, spread over all.
        self.counted = range(0, self.count, -(-self.count // COUNTED_ROWS))

    def values(self, row: int, begin: int, end: int) -> "list[int]":
        """Return some values of a row."""
        part = self.texts[row][begin * self.size : end * self.size]
        return self.numbers(part)

    def numbers(self, text: bytes) -> "list[int]":
        """Return the values that these bytes hold."""
        return list(memoryview(text).cast(self.form))  # type: ignore[call-overload]

    def end_value(self, side: int) -> bytes:
        """Return the value that half of the rows or more have at an end, empty if none."""
        size = self.size
        ends = [text[-size:] if side == RIGHT else text[:size] for text in self.texts]
        [(value, count)] = Counter(ends).most_common(1)
        return value if 2 * count >= self.count else b""

    def has_run(self, row: int, run: bytes, side: int) -> bool:
        """Return whether a row ends (or begins) with these bytes."""
        text = self.texts[row]
        return text.endswith(run) if side == RIGHT else text.startswith(run)

    def length(self, row: int, filled: bytes, side: int, least: int = 0) -> int:
        """Return how many values of a row, at least `least`, are not in the run at its end.

        `filled` is a row that holds only the value of the run.
        """
        longest, shortest = self.width, least
        while shortest < longest:
            middle = (shortest + longest) // 2
            if self.has_run(row, filled[middle * self.size :], side):
                longest = middle
            else:
                shortest = middle + 1
        return longest

    def longest(self, filled: bytes, side: int) -> int:
        """Return the length of the longest row: most are only compared with the longest so far."""
        longest = 0
        for row in range(self.count):
            if not self.has_run(row, filled[longest * self.size :], side):
                longest = self.length(row, filled, side, longest + 1)
        return longest


def token_lengths(rows: TokenRows, masks: "list[TokenRows]") -> "tuple[int, ...] | None":
    """Return rows, width, longest and shortest row, padded share (ppm), side and whether a mask
    agrees; None if these are not token ids.
    """
    side, value, lengths = padded_side(rows)
    if not holds_tokens(rows, lengths, side, value):
        return None
    longest = rows.width
    if side != NO_SIDE:
        longest = rows.longest(value * rows.width, side)
    for mask in masks:
        # What the mask includes is used, even where it looks like padding.
        filled = bytes(mask.width * mask.size)
        masked = [mask.length(row, filled, side or RIGHT) for row in mask.counted]
        lengths = [max(pair) for pair in zip(lengths, masked)]  # noqa: B905  runs on 3.8
        longest = max(longest, mask.longest(filled, side or RIGHT))
    padded = 1.0 - sum(lengths) / (len(lengths) * rows.width)
    counts = (rows.count, rows.width, longest, min(lengths), int(padded * 1e6), side)
    return (*counts, int(bool(masks)))


def padded_side(rows: TokenRows) -> "tuple[int, bytes, list[int]]":
    """Return the end with the longer runs of one value, that value, and the lengths of the rows."""
    best = (NO_SIDE, b"", [rows.width for _ in rows.counted])
    for side in (RIGHT, LEFT):
        value = rows.end_value(side)
        if not value:
            continue
        filled = value * rows.width
        lengths = [rows.length(row, filled, side) for row in rows.counted]
        if sum(lengths) < sum(best[2]):
            best = (side, value, lengths)
    return best


def holds_tokens(rows: TokenRows, lengths: "list[int]", side: int, value: bytes) -> bool:
    """Return whether the values without the padding can be token ids.

    They are not negative, there are several different ones, and the padding's value is hardly ever
    among them: it fills one-hot vectors, masks and images.
    """
    different: set[int] = set()
    inside = compared = 0
    for row, length in zip(rows.counted, lengths):  # noqa: B905  runs on 3.8
        begin = rows.width - length if side == LEFT else 0
        step = max(length // 2, 1)
        for at in (begin, begin + step):
            part = rows.values(row, at, min(at + COMPARED_VALUES, begin + length))
            different.update(part)
        if value:
            text = rows.texts[row][begin * rows.size : (begin + length) * rows.size]
            inside += text.count(value)
            compared += length
    if value:
        padding = rows.numbers(value)[0]
        different.discard(padding)
        if padding < 0 or inside > MOST_INSIDE * compared:
            return False
    return len(different) >= FEWEST_VALUES and min(different) >= 0
