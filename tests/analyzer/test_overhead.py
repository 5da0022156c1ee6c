"""The overhead from blocks that alternate, on made-up steps whose overhead is known."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from perfscope.agent.probe.counting_blocks import BLOCK_NS, CYCLE_NS, OFTEN_NS, next_block
from perfscope.analyzer.limits import LIMITS
from perfscope.analyzer.overhead.block_contrast import block_contrast
from perfscope.analyzer.overhead.overhead import overhead
from perfscope.traces.run.manifest import Manifest, ProbeCost, UsableCores
from perfscope.traces.schema import TABLES
from perfscope.traces.trace import Trace, framed

S = 1_000_000_000
BEGAN_NS = 7 * S
Lengths = Callable[[np.random.Generator, float, int], float]


def blocks(seconds: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    found, at = [], BEGAN_NS
    while (block := next_block(at, BEGAN_NS))[1] < BEGAN_NS + seconds * S:
        found.append(block)
        at = block[1]
    begin, end = np.array(found, np.int64).T
    return begin, end


def made(
    length: Lengths, share: float, seconds: float = 15.0, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (begin, dur) of steps that take `share` longer outside of counting blocks."""
    chance, at = np.random.default_rng(seed), float(BEGAN_NS)
    begin: list[float] = []
    dur: list[float] = []
    first, last = blocks(seconds + 1)
    while at < BEGAN_NS + seconds * S:
        plain = length(chance, (at - BEGAN_NS) / S, len(dur)) * S
        counted = np.maximum(0, np.minimum(last, at + plain) - np.maximum(first, at)).sum()
        begin.append(at)
        dur.append(plain + share * (plain - counted))
        at += dur[-1]
    return np.array(begin).astype(np.int64), np.array(dur).astype(np.int64)


def steady(chance: np.random.Generator, at_s: float, number: int) -> float:
    return float(0.03 * chance.normal(1.0, 0.04))


def drifting(chance: np.random.Generator, at_s: float, number: int) -> float:
    return float(0.03 * (1 + at_s / 30) * chance.normal(1.0, 0.03))


def heavy_tailed(chance: np.random.Generator, at_s: float, number: int) -> float:
    return float(0.012 * (1 + 0.05 * abs(chance.standard_t(2))))


def with_checkpoints(chance: np.random.Generator, at_s: float, number: int) -> float:
    return float(0.02 * chance.normal(1.0, 0.03) + (0.6 if number % 120 == 60 else 0.0))


def long_steps(chance: np.random.Generator, at_s: float, number: int) -> float:
    return float(0.14 * chance.normal(1.0, 0.02))


def short_steps(chance: np.random.Generator, at_s: float, number: int) -> float:
    return float(0.003 * chance.normal(1.0, 0.1))


@pytest.mark.parametrize("share", [0.0, 0.04, 0.2])
@pytest.mark.parametrize(
    "length", [steady, drifting, heavy_tailed, with_checkpoints, long_steps, short_steps]
)
def test_the_interval_holds_the_truth_and_is_narrow(length: Lengths, share: float) -> None:
    found = [block_contrast(*made(length, share, seed=seed), blocks(15)) for seed in range(20)]
    contrasts = [one for one in found if one is not None]
    assert len(contrasts) == 20
    near = [
        one
        for one in contrasts
        if min(one.low, one.share - 0.01) <= share <= max(one.high, one.share + 0.01)
    ]
    assert len(near) >= 18
    assert sum(one.high - one.low <= 0.04 for one in contrasts) >= 15
    assert np.mean([one.share for one in contrasts]) == pytest.approx(share, abs=0.006)


def test_one_step_that_lasts_longer_than_a_block_moves_nothing() -> None:
    begin, dur = made(steady, 0.1)
    dur[200] += 3 * S
    begin[201:] += 3 * S
    found = block_contrast(begin, dur, blocks(18))
    assert found is not None and found.share == pytest.approx(0.1, abs=0.04)


def test_without_enough_blocks_there_is_no_contrast() -> None:
    assert block_contrast(*made(steady, 0.1), blocks(2.0)) is None
    assert block_contrast(*made(lambda *_: 5.0, 0.1), blocks(15)) is None


def test_blocks_are_the_same_whoever_asks_and_get_rare_after_a_minute() -> None:
    for now in range(BEGAN_NS, BEGAN_NS + 20 * S, 37_000_000):
        begin, end = next_block(now, BEGAN_NS)
        assert end == begin + BLOCK_NS and now < end
        assert next_block(begin, BEGAN_NS) == next_block(end - 1, BEGAN_NS) == (begin, end)
        assert begin // CYCLE_NS == (end - 1) // CYCLE_NS
    assert len(blocks(15)[0]) in (19, 20)
    later = next_block(BEGAN_NS + OFTEN_NS + S, BEGAN_NS)
    assert next_block(later[1], BEGAN_NS)[0] - later[0] > 3 * CYCLE_NS


def trace_with(begin: NDArray[np.int64], dur: NDArray[np.int64], counting: bool) -> Trace:
    """A recording of a loop whose optimizer steps end at the ends of these steps."""
    ends = begin + dur - BEGAN_NS
    ranges: dict[str, Any] = {
        one.name: [None if one.dtype == "category" else -1] * len(ends) for one in TABLES["ranges"]
    }
    ranges |= {
        "process": [0] * len(ends),
        "tid": [5] * len(ends),
        "ts": ends,
        "dur": [0] * len(ends),
    }
    tables = {
        "ranges": framed(
            "ranges", ranges | {"category": ["optimizer"] * len(ends), "object": [1] * len(ends)}
        )
    }
    if counting:
        first, last = blocks(15)
        columns = {"process": [0] * len(first), "ts": first - BEGAN_NS, "dur": last - first}
        tables["counting_blocks"] = framed("counting_blocks", columns)
    manifest = Manifest("j", "h", "b", 0, 0, "0", [], 1, "probe", agent_cpu_ns=300_000_000)
    manifest.costs = [ProbeCost(0, 2_000_000, 28_000_000, 15_000_000, 40_000_000, 15 * S)]
    return Trace(tables, {}, [manifest], span_ns=(0, 15 * S))


def test_the_share_is_of_the_recorded_time_and_its_parts_sum_to_it() -> None:
    begin, dur = made(steady, 0.05)
    found = overhead(trace_with(begin, dur, counting=True), LIMITS)
    assert found is not None
    assert found.low < found.share < found.high
    assert sum(part.seconds for part in found.parts) == pytest.approx(found.share * 15.0, rel=0.03)
    assert {part.name: part.seconds for part in found.parts}["entry"] == pytest.approx(0.03)
    assert found.before is not None and found.during is not None and found.after is not None
    assert found.before == pytest.approx(1 / 0.03, rel=0.02) and found.after == pytest.approx(
        1 / 0.03, rel=0.02
    )
    assert found.during < min(found.before, found.after)


@pytest.mark.parametrize("used_cores", [2.0, 1.0])
def test_on_full_cores_the_interval_reaches_to_the_cpu_time_that_was_taken(
    used_cores: float,
) -> None:
    """Of 0.383 s of ours, 15 s long, on two cores: half where the run's threads go on by
    themselves, all where they wait.
    """
    trace = trace_with(*made(steady, 0.0), counting=True)
    names = ["cpu_ns", "host_cpu_busy_ns", "host_cpu_count"] * 2
    readings = [0.0, 0.0, 2.0, used_cores * 15e9, used_cores * 15e9, 2.0]
    of, at = [0, -1, -1] * 2, [0] * 3 + [15 * S] * 3
    columns = {"process": of, "tid": [-1] * 6, "ts": at, "name": names, "value": readings}
    manifest = trace.manifests[0]
    manifest.usable_cores = UsableCores(2.0, 2)
    tables = {name: trace.table(name) for name in ("ranges", "counting_blocks")} | {
        "counters": framed("counters", columns)
    }
    found = overhead(Trace(tables, {}, [manifest], span_ns=(0, 15 * S)), LIMITS)
    assert found is not None
    if used_cores < 2.0:
        assert found.high < 0.025 and "agent" not in {part.name for part in found.parts}
    else:
        assert found.low == pytest.approx(0.383 / 2 / 15 - 0.01, abs=0.0005)
        assert found.high == pytest.approx(0.383 / 15 + 0.01, abs=0.0005)
        assert found.low < found.share < found.high <= found.low + 0.04
        assert sum(part.seconds for part in found.parts) == pytest.approx(
            found.share * 15.0, rel=0.03
        )


def test_without_counting_blocks_the_measured_parts_are_left() -> None:
    found = overhead(trace_with(*made(steady, 0.05), counting=False), LIMITS)
    assert found is not None
    assert found.before is None and found.during is None
    assert found.share == pytest.approx((0.03 + 0.015 + 0.04) / 15, rel=0.01)
    assert found.high > found.share + 0.3 / 15 > found.low


def test_blocks_that_overlap_and_costs_that_cannot_be_are_left_out() -> None:
    trace = trace_with(*made(steady, 0.05), counting=True)
    columns = {"process": [0] * 60, "ts": [S, 3 * S, 2 * S] * 20, "dur": [-S, 0, 20 * S] * 20}
    manifest = trace.manifests[0]
    manifest.costs = [ProbeCost(0, -5, 1 << 2000, 0, 0, 0)]
    tables = {
        "ranges": trace.table("ranges"),
        "counting_blocks": framed("counting_blocks", columns),
    }
    found = overhead(Trace(tables, {}, [manifest], span_ns=(0, 15 * S)), LIMITS)
    assert found is not None and {part.name for part in found.parts} == {"agent"}
