"""The collectives of ranks that belong together, and the shift between two clocks."""

import numpy as np

from perfscope.traces.clock_offset import Shift, fit_shift, residual_ns
from perfscope.traces.collectives.collective_matching import match_collectives
from tests import build

MS = 1_000_000


def ranks(
    offsets, *, starts, skip=0, group="0 [0, 1]", kinds=("all_reduce",), sizes=(64,), late=()
):
    """Return collectives of ranks whose clocks differ by `offsets`; the first `skip` of the last
    rank are not recorded.
    """
    rows: build.Rows = []
    for process, offset in enumerate(offsets):
        for at, start in enumerate(starts):
            if process == len(offsets) - 1 and at < skip:
                continue
            arrival = start + (late[process] if late else 0)
            rows.append(
                {
                    "process": process,
                    "ts": arrival + offset,
                    "dur": start + 2 * MS - arrival,
                    "kind": kinds[at % len(kinds)],
                    "in_bytes": sizes[at % len(sizes)],
                    "group": group,
                    "group_size": len(offsets),
                    "kernel": len(rows),
                }
            )
    return build.table("collectives", rows)


IRREGULAR = np.cumsum(np.random.default_rng(3).integers(5 * MS, 9 * MS, 40)).tolist()


def test_the_nth_collectives_of_two_ranks_match_whatever_their_clocks_are():
    match = match_collectives(ranks([0, 7_000 * MS], starts=IRREGULAR), None)
    assert match.tolist() == [*range(40), *range(40)]


def test_a_recording_that_started_later_is_matched_from_its_start():
    match = match_collectives(ranks([0, -500 * MS], starts=IRREGULAR, skip=3), None)
    assert match[:3].tolist() == [-1, -1, -1]
    assert (match[3:40] == match[40:]).all() and (match[40:] >= 0).all()


def test_equal_numbers_recorded_over_different_steps_are_not_paired_by_number():
    both = ranks([0, 0], starts=IRREGULAR, skip=2)
    match = match_collectives(both.iloc[np.r_[0:38, 40:78]].reset_index(drop=True), None)
    assert (match[2:38] == match[38:74]).all() and (match[2:38] >= 0).all()
    assert match[:2].tolist() == [-1, -1] and match[74:].tolist() == [-1, -1]


def test_sizes_that_differ_do_not_match():
    first, second = (
        ranks([0, 0], starts=IRREGULAR, sizes=(64,)),
        ranks([0, 0], starts=IRREGULAR, sizes=(32,)),
    )
    first.loc[40:, "in_bytes"] = second.loc[40:, "in_bytes"]
    assert (match_collectives(first, None) == -1).all()


def test_point_to_point_is_not_matched():
    assert (
        match_collectives(ranks([0, 0], starts=IRREGULAR, kinds=("send", "recv")), None) == -1
    ).all()


def test_a_name_with_more_ranks_than_its_group_has_means_several_groups():
    rows = ranks([0, 0, 0], starts=IRREGULAR, group="tp")
    rows["group_size"] = 2
    assert (match_collectives(rows, None) == -1).all()


def test_without_metadata_equal_numbers_per_stream_match_when_they_overlap():
    rows = ranks([0, 90 * MS], starts=IRREGULAR, group=None)
    rows["stream"] = np.where(rows["process"] == 0, 20, 24)
    kernels = build.table(
        "kernels", [{"name": "ncclKernel_AllReduce", "kind": "communication"}] * len(rows)
    )
    assert match_collectives(rows, kernels).tolist() == [*range(40), *range(40)]
    assert match_collectives(rows.iloc[:-1], kernels).tolist() == [*range(39), -1, *range(39)]
    apart = rows.copy()
    apart.loc[40:, "ts"] = np.arange(40) * 31 * MS
    assert (match_collectives(apart, kernels) == -1).all()


def test_one_record_lost_in_the_middle_is_one_record_without_a_match():
    for sizes in ((64,), (64, 32, 16, 8)):
        rows = (
            ranks([0, 7_000 * MS], starts=IRREGULAR, sizes=sizes)
            .drop(index=57)
            .reset_index(drop=True)
        )
        match = match_collectives(rows, None)
        assert (match[:17] == match[40:57]).all() and (match[18:40] == match[57:]).all()
        assert match[17] == -1 and (np.delete(match, 17) >= 0).all()


def test_records_lost_on_two_ranks_leave_the_others_matched():
    rows = (
        ranks([0, 900 * MS, -50 * MS, 7], starts=IRREGULAR)
        .drop(index=[57, 151])
        .reset_index(drop=True)
    )
    match = match_collectives(rows, None)
    assert len(set(match.tolist())) == 40 and (match >= 0).all()
    assert (match[:40] == match[79:119]).all()


def test_a_record_lost_without_metadata_is_one_record_without_a_match():
    rows = ranks([0, 90 * MS], starts=IRREGULAR, group=None)
    rows["stream"] = 20
    kernels = build.table(
        "kernels", [{"name": "ncclKernel_AllReduce", "kind": "communication"}] * len(rows)
    )
    assert match_collectives(rows.drop(index=57), kernels).tolist() == [
        *range(17),
        -1,
        *range(17, 39),
        *range(39),
    ]


def test_sequences_whose_ends_never_agree_are_not_matched_though_one_record_is_lost():
    rows = ranks([0, 0], starts=IRREGULAR).drop(index=57).reset_index(drop=True)
    rows.loc[40:, "ts"] = np.cumsum(np.random.default_rng(4).integers(5 * MS, 9 * MS, 39))
    assert (match_collectives(rows, None) == -1).all()


def test_one_rank_alone_has_no_match():
    assert (match_collectives(ranks([0], starts=IRREGULAR), None) == -1).all()


def test_an_offset_is_the_median_and_outliers_do_not_move_it():
    ts = np.arange(100, dtype=np.int64) * MS
    difference = np.full(100, 5_000, np.int64)
    difference[::7] += 40_000
    assert fit_shift(ts, difference).offset_ns(ts).tolist() == [5_000] * 100


def test_a_drift_continues_before_the_first_and_after_the_last_event():
    ts = np.arange(1000, dtype=np.int64) * MS
    drift = (ts * 1e-4).astype(np.int64)  # 100 ppm: 100 us over the second
    shift = fit_shift(ts, drift + 1_700_000_000_000_000_000)
    assert shift.drifts and residual_ns(shift, ts, drift + 1_700_000_000_000_000_000) < 100
    outside = np.array([-100 * MS, 1100 * MS], np.int64)
    assert (
        np.abs(shift.offset_ns(outside) - 1_700_000_000_000_000_000 - [-10_000, 110_000]) < 100
    ).all()


def test_a_change_faster_than_any_clock_is_not_a_drift():
    ts = np.arange(1000, dtype=np.int64) * MS
    assert not fit_shift(ts, (ts * 0.036).astype(np.int64)).drifts
    assert not fit_shift(ts, np.where(ts > 500 * MS, MS, 0)).drifts


def test_a_shift_keeps_the_order_of_times():
    shift = Shift(np.array([0, 1000], np.int64), np.array([0, 100], np.int64))
    assert shift.moved(np.array([-1000, 0, 500, 1000, 2000], np.int64)).tolist() == [
        -1100,
        0,
        550,
        1100,
        2200,
    ]
