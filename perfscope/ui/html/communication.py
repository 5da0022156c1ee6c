"""Communication of the ranks: bus bandwidth, arrival skew, and the table of collectives."""

from typing import Any

import pandas as pd

from perfscope.analyzer.communication.arrival_spread import arrival_spread
from perfscope.analyzer.communication.collective_links import collective_links
from perfscope.analyzer.communication.collectives_on_links import CONVENTION, gigabytes
from perfscope.analyzer.communication.communication_table import communication_table
from perfscope.analyzer.communication.overlap import overlap
from perfscope.analyzer.number_text import ms, percent
from perfscope.analyzer.run.matched_collectives import matched_collectives
from perfscope.traces.trace import Trace
from perfscope.ui.figures.arrivals import arrivals
from perfscope.ui.figures.bus_bandwidth import bus_bandwidth
from perfscope.ui.html.sections import Section
from perfscope.ui.html.tables import Column, Table, count, known_bytes, known_time, time

MOST_BARS = 12
COLUMNS = (
    Column("group", "group", "process group: name and ranks"),
    Column("kind", "collective", "kind of collective"),
    Column("count", "calls", "number of calls", count),
    Column("sum_ns", "total", "sum of durations on the device", time),
    Column("exposed_ns", "exposed", "time that does not overlap with computation", time),
    Column("wait_ns", "waiting for peers", "time until the last recorded rank joined", known_time),
    Column("mean_ns", "mean", "mean duration", time),
    Column("bytes", "sent", "bytes of this rank's inputs", known_bytes),
    Column("bandwidth", "bus bandwidth", CONVENTION),
    Column(
        "peak",
        "peak of the links",
        "peak of one device in one direction, between members of the group",
    ),
)


def communication(trace: Trace, rank: int) -> list[Section | Table]:
    """Collectives of a rank, group by group, and of all ranks what the links carry and who comes
    late.
    """
    rows = trace.fact(communication_table)
    if not len(rows):
        return []
    own = rows[rows["rank"] == rank]
    own = own if len(own) else rows[rows["rank"] == rows["rank"].min()]
    links = trace.fact(collective_links)
    table = Table(
        "communication",
        "Collectives",
        hidden(trace, rank),
        COLUMNS,
        with_rates(own, links).assign(wide=own["mean_ns"].to_numpy()),
        ("longest_ts", "wide"),
    )
    return [*of_links(links), *of_arrivals(trace), table]


def hidden(trace: Trace, rank: int) -> str:
    """How much of the communication computation hides."""
    mine = trace.fact(overlap)
    mine = mine[mine["rank"] == rank] if len(mine) else mine
    share = float(mine["hidden_share"].iloc[0]) if len(mine) else float("nan")
    note = (
        ""
        if share != share
        else f"{percent(share)} of the communication overlaps with computation. "
    )
    if (trace.fact(matched_collectives)["match"] >= 0).any():
        return note + "Waiting for peers is separated, because their traces are loaded."
    return note + "Durations include waiting for peers, because their traces are not loaded."


def of_links(links: pd.DataFrame) -> list[Section]:
    """Bus bandwidth beside the peak."""
    known = (
        links[links["bus_bytes_per_s"].notna()]
        .sort_values("busy_ns", ascending=False)
        .head(MOST_BARS)
    )
    if not len(known):
        return []
    first = known.iloc[0]
    note = f"{CONVENTION[0].upper()}{CONVENTION[1:]}. "
    if known["at_least"].any():
        note += "These are lower bounds: without the traces of all ranks the time includes waiting for peers. "
    if first["peak_bytes_per_s"] == first["peak_bytes_per_s"]:
        note += f"Peak of {first['device']}: {first['peak_source']}; {first['peak_why']}."
    elif first["peak_why"]:
        note += f"No peak: {first['peak_why']}."
    return [Section("links", "Bus bandwidth by collective", note, bus_bandwidth(known))]


def of_arrivals(trace: Trace) -> list[Section]:
    """Who comes late."""
    spread = trace.fact(arrival_spread)
    if not len(spread):
        return []
    ranks = trace.table("ranks")
    left = -1 if ranks is None else int(ranks["clock_residual_ns"].max())
    note = (
        "How long after the first rank each rank joins a collective. Dot: median; line: 5th to 95th"
        " percentile. "
    )
    note += f"The clocks of the ranks agree within {ms(left)}." if left >= 0 else ""
    return [Section("arrivals", "Arrival skew by rank", note, arrivals(spread))]


def with_rates(own: pd.DataFrame, links: pd.DataFrame) -> pd.DataFrame:
    """The rows of a rank with the bandwidth of their kind and the peak of their group."""
    by_name = {(str(one["group"]), str(one["kind"])): one for one in links.to_dict("records")}
    mine = [
        by_name.get((str(group), str(kind)))
        for group, kind in zip(own["group"], own["kind"], strict=True)
    ]
    return own.assign(bandwidth=[bandwidth(one) for one in mine], peak=[peak(one) for one in mine])


def bandwidth(row: dict[Any, Any] | None) -> str:
    if row is None or row["bus_bytes_per_s"] != row["bus_bytes_per_s"]:
        return "not known"
    return ("at least " if row["at_least"] else "") + gigabytes(row["bus_bytes_per_s"])


def peak(row: dict[Any, Any] | None) -> str:
    if row is None or row["peak_bytes_per_s"] != row["peak_bytes_per_s"]:
        return "not known"
    return (
        ("at most " if row["peak_at_most"] else "")
        + gigabytes(row["peak_bytes_per_s"])
        + f", {row['technology']}"
    )
