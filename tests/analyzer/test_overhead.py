"""The measured overhead of a recording, on generated steps whose overhead is known."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from perfscope.agent.probe.counting_blocks import BLOCK_NS, CYCLE_NS, OFTEN_NS, next_block
from perfscope.analyzer.limits import LIMITS
from perfscope.analyzer.overhead.block_contrast import block_contrast
from perfscope.analyzer.overhead.overhead import overhead
from perfscope.traces.run_folder.manifest import Manifest, ProbeCost, UsableCores
from perfscope.traces.trace import Trace, make_table
from tests import build

S = 1_000_000_000
BEGAN_NS = 7 * S
Lengths = Callable[[np.random.Generator, float, int], float]


def counting_blocks(seconds: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (begin, end) of the blocks in which the probe only counts steps."""
    blocks, at = [], BEGAN_NS
    while (block := next_block(at, BEGAN_NS))[1] < BEGAN_NS + seconds * S:
        blocks.append(block)
        at = block[1]
    begin, end = np.array(blocks, np.int64).T
    return begin, end


def generated_steps(
    length: Lengths, share: float, seconds: float = 15.0, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (begin, dur) of steps that take `share` longer outside of counting blocks."""
    chance, at = np.random.default_rng(seed), float(BEGAN_NS)
    begin: list[float] = []
    dur: list[float] = []
    first, last = counting_blocks(seconds + 1)
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
def test_the_interval_contains_the_known_overhead_and_is_narrow(
    length: Lengths, share: float
) -> None:
    found = [
        block_contrast(*generated_steps(length, share, seed=seed), counting_blocks(15))
        for seed in range(20)
    ]
    contrasts = [contrast for contrast in found if contrast is not None]
    assert len(contrasts) == 20
    near = [
        contrast
        for contrast in contrasts
        if contrast.low <= share <= contrast.high or abs(contrast.share - share) <= 0.01
    ]
    assert len(near) >= 18
    assert sum(contrast.high - contrast.low <= 0.04 for contrast in contrasts) >= 15
    shares = [contrast.share for contrast in contrasts]
    assert np.mean(shares) == pytest.approx(share, abs=0.006)


def test_one_step_that_lasts_longer_than_a_block_does_not_change_the_share() -> None:
    begin, dur = generated_steps(steady, 0.1)
    dur[200] += 3 * S
    begin[201:] += 3 * S
    found = block_contrast(begin, dur, counting_blocks(18))
    assert found is not None and found.share == pytest.approx(0.1, abs=0.04)


def test_without_enough_blocks_there_is_no_contrast() -> None:
    assert block_contrast(*generated_steps(steady, 0.1), counting_blocks(2.0)) is None
    assert block_contrast(*generated_steps(lambda *_: 5.0, 0.1), counting_blocks(15)) is None


def test_blocks_follow_from_the_time_alone_and_are_rarer_after_a_minute() -> None:
    for now in range(BEGAN_NS, BEGAN_NS + 20 * S, 37_000_000):
        begin, end = next_block(now, BEGAN_NS)
        assert end == begin + BLOCK_NS and now < end
        assert next_block(begin, BEGAN_NS) == next_block(end - 1, BEGAN_NS) == (begin, end)
        assert begin // CYCLE_NS == (end - 1) // CYCLE_NS
    assert len(counting_blocks(15)[0]) in (19, 20)
    later = next_block(BEGAN_NS + OFTEN_NS + S, BEGAN_NS)
    assert next_block(later[1], BEGAN_NS)[0] - later[0] > 3 * CYCLE_NS


def trace_with(begin: NDArray[np.int64], dur: NDArray[np.int64], counting: bool) -> Trace:
    """Return a recording of a loop whose optimizer steps end at the ends of these steps."""
    ends = begin + dur - BEGAN_NS
    optimizer = {"process": 0, "tid": 5, "dur": 0, "category": "optimizer", "object": 1}
    tables = {"ranges": build.table("ranges", [{**optimizer, "ts": int(ts)} for ts in ends])}
    if counting:
        first, last = counting_blocks(15)
        columns = {"process": [0] * len(first), "ts": first - BEGAN_NS, "dur": last - first}
        tables["counting_blocks"] = make_table("counting_blocks", columns)
    manifest = Manifest("j", "h", "b", 0, 0, "0", [], 1, "probe", agent_cpu_ns=300_000_000)
    manifest.costs = [ProbeCost(0, 2_000_000, 28_000_000, 15_000_000, 40_000_000, 15 * S)]
    return Trace(tables, {}, [manifest], span_ns=(0, 15 * S))


def test_the_parts_sum_to_the_share_of_the_recorded_time() -> None:
    begin, dur = generated_steps(steady, 0.05)
    found = overhead(trace_with(begin, dur, counting=True), LIMITS)
    assert found is not None
    assert found.low < found.share < found.high
    assert sum(part.seconds for part in found.parts) == pytest.approx(found.share * 15.0, rel=0.03)
    assert {part.name: part.seconds for part in found.parts}["entry"] == pytest.approx(0.03)
    assert found.before is not None and found.during is not None and found.after is not None
    assert found.before == pytest.approx(1 / 0.03, rel=0.02)
    assert found.after == pytest.approx(1 / 0.03, rel=0.02)
    assert found.during < min(found.before, found.after)


@pytest.mark.parametrize("used_cores", [2.0, 1.0])
def test_on_full_cores_the_interval_includes_the_cpu_time_of_the_agent(
    used_cores: float,
) -> None:
    """The agent uses 0.383 s of CPU in 15 s on two cores. The run is slower by half of it if its
    threads are independent, by all of it if they wait for each other.
    """
    trace = trace_with(*generated_steps(steady, 0.0), counting=True)
    names = ["cpu_ns", "host_cpu_busy_ns", "host_cpu_count"] * 2
    readings = [0.0, 0.0, 2.0, used_cores * 15e9, used_cores * 15e9, 2.0]
    process, ts = [0, -1, -1] * 2, [0] * 3 + [15 * S] * 3
    columns = {"process": process, "tid": [-1] * 6, "ts": ts, "name": names, "value": readings}
    manifest = trace.manifests[0]
    manifest.usable_cores = UsableCores(2.0, 2)
    tables = {name: trace.table(name) for name in ("ranges", "counting_blocks")} | {
        "counters": make_table("counters", columns)
    }
    found = overhead(Trace(tables, {}, [manifest], span_ns=(0, 15 * S)), LIMITS)
    assert found is not None
    if used_cores < 2.0:
        assert found.high < 0.025 and "agent" not in {part.name for part in found.parts}
    else:
        assert found.low == pytest.approx(0.383 / 2 / 15 - 0.005, abs=0.0005)
        assert found.high == pytest.approx(0.383 / 15 + 0.005, abs=0.0005)
        assert found.low < found.share < found.high <= found.low + 0.04
        assert sum(part.seconds for part in found.parts) == pytest.approx(
            found.share * 15.0, rel=0.03
        )


def test_without_counting_blocks_the_overhead_is_the_sum_of_the_measured_parts() -> None:
    found = overhead(trace_with(*generated_steps(steady, 0.05), counting=False), LIMITS)
    assert found is not None
    assert found.before is None and found.during is None
    assert found.share == pytest.approx((0.03 + 0.015 + 0.04) / 15, rel=0.01)
    assert found.high > found.share + 0.3 / 15 > found.low


def test_blocks_that_overlap_and_impossible_costs_are_ignored() -> None:
    trace = trace_with(*generated_steps(steady, 0.05), counting=True)
    columns = {"process": [0] * 60, "ts": [S, 3 * S, 2 * S] * 20, "dur": [-S, 0, 20 * S] * 20}
    manifest = trace.manifests[0]
    manifest.costs = [ProbeCost(0, -5, 1 << 2000, 0, 0, 0)]
    tables = {
        "ranges": trace.table("ranges"),
        "counting_blocks": make_table("counting_blocks", columns),
    }
    found = overhead(Trace(tables, {}, [manifest], span_ns=(0, 15 * S)), LIMITS)
    assert found is not None and {part.name for part in found.parts} == {"agent"}
