"""The last rank to enter each collective, and when it entered."""

from perfscope.analyzer.run.ranks.matched_collectives import matched_collectives
from tests import build


def row(process, ts, end, **more):
    return {
        "process": process,
        "ts": ts,
        "dur": end - ts,
        "kind": "all_reduce",
        "in_bytes": 8,
        "group": "0 [0, 1]",
        "group_size": 2,
        **more,
    }


RANKS = [{"process": 0, "rank": 4}, {"process": 1, "rank": 5}]


def test_every_row_of_a_match_has_the_last_rank_and_its_arrival():
    first = [row(0, 10_000_000, 40_000_000), row(0, 50_000_000, 90_000_000)]
    second = [row(1, 30_000_000, 40_000_000), row(1, 45_000_000, 90_000_000)]
    send = row(1, 95_000_000, 96_000_000, kind="send")
    rows = [second[1], *first, send, second[0]]
    found = build.trace(ranks=RANKS, collectives=rows).fact(matched_collectives)
    assert found["arrival_ns"].tolist() == [50_000_000, 30_000_000, 50_000_000, -1, 30_000_000]
    assert found["last_rank"].tolist() == [4, 5, 4, -1, 5]
    assert found["ranks"].tolist() == [2, 2, 2, -1, 2]
    match = found["match"].tolist()
    assert match[0] == match[2] and match[1] == match[4] and match[0] != match[1]
    assert match[3] == -1


def test_the_collectives_of_one_rank_alone_are_not_matched():
    found = build.trace(ranks=RANKS[:1], collectives=[row(0, 10, 20)]).fact(matched_collectives)
    assert found.to_numpy().tolist() == [[-1, -1, -1, -1, -1]]


def test_without_collectives_there_are_no_rows():
    found = build.trace().fact(matched_collectives)
    assert len(found) == 0 and list(found) == [
        "match",
        "arrival_ns",
        "last_rank",
        "ranks",
        "last_row",
    ]
