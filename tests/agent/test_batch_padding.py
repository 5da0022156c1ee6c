"""Counts of padding in batches: exact on token ids, none where nothing shows that these are ids."""

import random
import time
from collections import OrderedDict, UserDict, namedtuple
from typing import Any

import pytest
import torch

from perfscope.agent.probe import batch_padding, loader
from perfscope.traces.run_folder.events import KINDS, PADDING, VALUES

WIDTH, ROWS = 64, 8
LENGTHS = (5, 9, 17, 20, 8, 12, 30, 11)


class PaddingRecorder:
    """The part of a probe that looks at batches."""

    def __init__(self) -> None:
        self.kinds = KINDS
        self.records: list[tuple[int, ...]] = []
        self.loaded: list[Any] = []
        self.called: list[Any] = []


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A recorder for which every batch is looked at."""
    process_state = type("ProcessState", (), {"in_worker": staticmethod(lambda: False)})
    monkeypatch.setattr(
        batch_padding, "MODULES", {"loader": loader, "process_state": process_state}
    )
    monkeypatch.setattr(batch_padding, "EVERY_NS", 0)
    monkeypatch.setattr(batch_padding, "MOST_SHARE", 1e9)
    made = PaddingRecorder()
    batch_padding.install(made)  # type: ignore[arg-type]
    return made


def seen(recorder: Any, batch: Any) -> dict[str, int] | None:
    """Return the values of the record that a batch of the loader leaves, None where it leaves none.

    Looking changes no tensor.
    """
    recorder.records.clear()
    recorder.loaded[0](batch)
    if not recorder.records:
        return None
    [record] = recorder.records
    assert record[0] == PADDING
    return dict(zip(VALUES[PADDING], record[4:], strict=True))


def tokens(
    lengths: tuple[int, ...] = LENGTHS,
    *,
    width: int = WIDTH,
    padding: int = 0,
    left: bool = False,
    dtype: torch.dtype = torch.int64,
) -> torch.Tensor:
    """Return rows of random ids of these lengths."""
    chosen = random.Random(0)
    rows = []
    for length in lengths:
        ids = [chosen.randrange(1000, 30000) for _ in range(length)]
        filler = [padding] * (width - length)
        rows.append(filler + ids if left else ids + filler)
    return torch.tensor(rows, dtype=dtype)


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("padding", [0, 1, 50256])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_lengths_are_counted_exactly(
    recorder: Any, left: bool, padding: int, dtype: torch.dtype
) -> None:
    found = seen(recorder, [tokens(left=left, padding=padding, dtype=dtype), torch.zeros(ROWS)])
    assert found == {
        "source": 1,
        "rows": ROWS,
        "width": WIDTH,
        "longest": max(LENGTHS),
        "shortest": min(LENGTHS),
        "padded_ppm": int((1 - sum(LENGTHS) / (ROWS * WIDTH)) * 1e6),
        "side": 2 if left else 1,
        "masked": 0,
    }


def test_the_longest_of_many_rows_counts_whichever_row_it_is(recorder: Any) -> None:
    for longest_row in (0, 1, 77, 199):
        lengths = tuple(50 if row == longest_row else 10 + row % 7 for row in range(200))
        found = seen(recorder, tokens(lengths))
        assert found is not None and found["longest"] == 50


def test_batches_without_padding_are_recorded_as_full(recorder: Any) -> None:
    found = seen(recorder, tokens((WIDTH,) * ROWS))
    assert found is not None
    assert found["longest"] >= WIDTH - 1 and found["padded_ppm"] < 20_000


Pair = namedtuple("Pair", "inputs labels")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda ids: ids,
        lambda ids: [ids],
        lambda ids: {"input_ids": ids},
        lambda ids: OrderedDict(a=torch.zeros(3), b=(ids, None)),
        lambda ids: UserDict(input_ids=ids),
        lambda ids: Pair(ids, torch.zeros(ROWS)),
        lambda ids: ((ids,), {"mask": None}),
    ],
)
def test_every_form_of_batch_is_looked_into(recorder: Any, wrap: Any) -> None:
    found = seen(recorder, wrap(tokens()))
    assert found is not None and found["longest"] == max(LENGTHS)


def test_what_the_attention_mask_includes_is_used(recorder: Any) -> None:
    """The end token is the padding too, and the mask includes it once."""
    ids = tokens(padding=2)
    mask = (torch.arange(WIDTH)[None] < torch.tensor(LENGTHS)[:, None] + 1).long()
    found = seen(recorder, {"input_ids": ids, "attention_mask": mask})
    assert found is not None
    assert (found["longest"], found["shortest"], found["masked"]) == (31, 6, 1)
    found = seen(recorder, {"input_ids": ids, "attention_mask": torch.ones_like(mask)})
    assert found is not None and found["longest"] == WIDTH and found["padded_ppm"] == 0


def test_labels_and_ids_of_positions_are_not_looked_at(recorder: Any) -> None:
    full = tokens((WIDTH,) * ROWS)
    found = seen(recorder, {"input_ids": tokens(), "labels": full, "position_ids": full})
    assert found is not None and found["longest"] == max(LENGTHS)
    assert seen(recorder, {"labels": tokens()}) is None


def one_hot() -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.arange(ROWS) * 5, WIDTH)


def digits() -> torch.Tensor:
    """Return images with a dark border, of which most pixels are dark."""
    image = torch.zeros(ROWS, 28, 28, dtype=torch.int64)
    image[:, 8:20, 10:18] = torch.randint(0, 256, (ROWS, 12, 8))
    return image.flatten(1)


def sparse_counts() -> torch.Tensor:
    counts = torch.randint(1, 9, (ROWS, WIDTH))
    counts[torch.rand(ROWS, WIDTH) < 0.8] = 0
    return counts


def prompt_masked_labels() -> torch.Tensor:
    """Return labels of which the prompts, of different lengths, are left out."""
    return tokens(padding=-100, left=True)


@pytest.mark.parametrize(
    "batch",
    [
        one_hot(),
        digits(),
        sparse_counts(),
        prompt_masked_labels(),
        (torch.rand(ROWS, WIDTH) < 0.1).long().cumsum(1),
        torch.arange(WIDTH)[None] < torch.tensor(LENGTHS)[:, None],
        (torch.arange(WIDTH)[None] < torch.tensor(LENGTHS)[:, None]).long(),
        tokens().float(),
        tokens(width=64)[:, ::2],
        tokens()[None],
        torch.zeros(ROWS, WIDTH, dtype=torch.int64),
        tokens(tuple(min(length, 12) for length in LENGTHS), width=12),
        ["some text"] * 8,
        None,
    ],
)
def test_what_only_looks_like_padding_is_not_reported(recorder: Any, batch: Any) -> None:
    found = seen(recorder, batch)
    assert found is None or found["longest"] >= 0.9 * found["width"]


def test_batches_that_are_too_large_are_left_out_as_a_whole(recorder: Any) -> None:
    large = tokens((3000,) * 64, width=3000)
    assert seen(recorder, [tokens(), large]) is None


def test_subclasses_and_tensors_of_other_kinds_are_not_read(recorder: Any) -> None:
    class Logged(torch.Tensor):
        asked = 0

        @classmethod
        def __torch_function__(cls, *args: Any, **kwargs: Any) -> Any:
            cls.asked += 1
            return super().__torch_function__(*args, **kwargs)

    logged = tokens().as_subclass(Logged)
    before = Logged.asked
    assert seen(recorder, [logged]) is None
    assert Logged.asked == before
    assert seen(recorder, tokens().to("meta")) is None
    assert seen(recorder, tokens().to_sparse()) is None
    shrunk = tokens()
    shrunk.untyped_storage().resize_(0)
    assert seen(recorder, shrunk) is None


def test_nothing_is_asked_while_torch_traces_or_a_mode_is_on(recorder: Any) -> None:
    class Mode(torch.overrides.TorchFunctionMode):
        asked = 0

        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            Mode.asked += 1
            return function(*args, **(kwargs or {}))

    ids = tokens()
    with Mode():
        before = Mode.asked
        assert seen(recorder, ids) is None
        assert Mode.asked == before

    def traced(values: torch.Tensor) -> torch.Tensor:
        assert seen(recorder, ids) is None
        return values + 1

    with pytest.warns(DeprecationWarning):
        graph = torch.jit.trace(traced, torch.zeros(3), check_trace=False).graph
    assert "aten::size" not in str(graph)
    assert seen(recorder, ids) is not None


def test_one_batch_per_second_is_looked_at(recorder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [time.monotonic_ns()]
    monkeypatch.setattr(batch_padding, "EVERY_NS", 1_000_000_000)
    monkeypatch.setattr(time, "monotonic_ns", lambda: clock[0])
    for _ in range(30):
        recorder.called[0](((tokens(),), {}))
        clock[0] += 100_000_000
    assert len(recorder.records) == 3
    assert {record[4] for record in recorder.records} == {2}
