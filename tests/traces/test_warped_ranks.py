"""The clocks and the straggler of eight ranks that are made from a recorded one."""

from pathlib import Path

import numpy as np
import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.run.ranks.matched_collectives import matched_collectives
from perfscope.traces.load import load_trace
from tests.traces.kineto.recorded import FOLDER
from tests.traces.warped_ranks import warped_ranks

RANKS, SLOW = 8, 5


@pytest.mark.shared_traces
def test_the_clocks_of_ranks_are_aligned_and_the_slow_rank_is_the_straggler(tmp_path: Path) -> None:
    source = FOLDER / "kineto" / "a100_16ranks_rank0.json.gz"
    if not source.exists():
        pytest.skip(f"{source} is not available")
    made = warped_ranks(source, tmp_path / "job", RANKS, SLOW)
    trace = load_trace(tmp_path / "job")
    ranks = trace.table("ranks")
    assert ranks is not None and ranks["rank"].tolist() == list(range(RANKS))
    assert (ranks["clock_residual_ns"] >= 0).all()
    truth = np.array([-round(offset_us) for offset_us in made.offsets_us]) * 1e3
    assert np.abs(ranks["clock_offset_ns"].to_numpy() - truth).max() < 2_000
    assert (trace.fact(matched_collectives)["match"] >= 0).mean() > 0.9
    diagnosis = diagnose_trace(trace)
    assert not diagnosis.failed
    found = {finding.id: finding for finding in diagnosis.findings}["straggler"]
    slow_process = next(rank.process for rank in diagnosis.per_process if rank.rank == SLOW)
    assert found.processes == [slow_process]
    waits = {
        budget.rank: sum(
            entry.seconds for entry in budget.time_budget if entry.category == "peer-wait"
        )
        for budget in diagnosis.per_process
    }
    others = [seconds for rank, seconds in waits.items() if rank != SLOW]
    assert waits[SLOW] < min(others)
    assert 0.8 * np.mean(others) <= found.lost_s <= np.mean(others)
