"""Communication of the ranks: bus bandwidth, arrival skew, and the table of collectives."""

from typing import Any

import pandas as pd

from perfscope.analyzer.communication.arrival_spread import arrival_spread
from perfscope.analyzer.communication.collective_links import collective_links
from perfscope.analyzer.communication.collectives_on_links import CONVENTION, gigabytes_per_s
from perfscope.analyzer.communication.communication_table import communication_table
from perfscope.analyzer.communication.overlap import overlap
from perfscope.analyzer.number_text import capitalized, ms, percent
from perfscope.analyzer.run.ranks.matched_collectives import matched_collectives
from perfscope.traces.trace import Trace
from perfscope.ui.html.arrival_bars import SHOWN_RANKS, arrival_bars, shown_arrivals
from perfscope.ui.html.bus_bandwidth_bars import bus_bandwidth_bars
from perfscope.ui.html.sections import PlainChart
from perfscope.ui.html.tables import (
    Table,
    TableColumn,
    count_text,
    known_bytes,
    known_time,
    rows_of_rank_or_first,
    time,
)

MOST_BARS = 12
COLUMNS = (
    TableColumn("group", "group", "process group: name and ranks"),
    TableColumn("kind", "collective", "kind of collective"),
    TableColumn("count", "calls", "number of calls", count_text),
    TableColumn("sum_ns", "total", "sum of durations on the device", time),
    TableColumn("exposed_ns", "exposed", "time that does not overlap with computation", time),
    TableColumn(
        "wait_ns", "waiting for peers", "time until the last recorded rank joined", known_time
    ),
    TableColumn("mean_ns", "mean", "mean duration", time),
    TableColumn("bytes", "sent", "bytes of this rank's inputs", known_bytes),
    TableColumn("bandwidth", "bus bandwidth", CONVENTION),
    TableColumn(
        "peak",
        "peak of the links",
        "peak of one device in one direction, between members of the group",
    ),
)
LOWER_BOUNDS = (
    "These are lower bounds: without the traces of all ranks the time includes waiting for peers. "
)
WAITING_SEPARATED = "Waiting for peers is separated, because their traces are loaded."
WAITING_INCLUDED = "Durations include waiting for peers, because their traces are not loaded."
ARRIVALS_NOTE = (
    "How long after the first rank each rank joins a collective. Dot and number: median; line: 5th"
    " to 95th percentile. "
)


def communication_sections(trace: Trace, rank: int) -> list[PlainChart | Table]:
    """Return the bandwidth and the arrivals of all ranks, and the collectives of one rank."""
    every_rank = trace.fact(communication_table)
    if not len(every_rank):
        return []
    rows = rows_of_rank_or_first(every_rank, rank)
    links = trace.fact(collective_links)
    with_intervals = with_bandwidths(rows, links).assign(wide=rows["mean_ns"].to_numpy())
    table = Table(
        "communication",
        "Collectives",
        overlap_note(trace, rank),
        COLUMNS,
        with_intervals,
        ("longest_ts", "wide"),
    )
    return [*bandwidth_section(links), *arrivals_section(trace, rank), table]


def overlap_note(trace: Trace, rank: int) -> str:
    """Return how much of the communication overlaps, and whether it includes waiting for peers."""
    rows = trace.fact(overlap)
    rows = rows[rows["rank"] == rank] if len(rows) else rows
    note = ""
    if len(rows) and not pd.isna(rows["hidden_share"].iloc[0]):
        share = percent(float(rows["hidden_share"].iloc[0]))
        note = f"{share} of the communication overlaps with computation. "
    is_matched = bool((trace.fact(matched_collectives)["match"] >= 0).any())
    return note + (WAITING_SEPARATED if is_matched else WAITING_INCLUDED)


def bandwidth_section(links: pd.DataFrame) -> list[PlainChart]:
    """Return the bus bandwidth of each collective, next to the peak of its links."""
    known = links[links["bus_bytes_per_s"].notna()]
    known = known.sort_values("busy_ns", ascending=False).head(MOST_BARS)
    if not len(known):
        return []
    first = known.iloc[0]
    note = f"{capitalized(CONVENTION)}. "
    if known["at_least"].any():
        note += LOWER_BOUNDS
    if not pd.isna(first["peak_bytes_per_s"]):
        note += f"Peak of {first['device']}: {first['peak_source']}; {first['peak_why']}."
    elif first["peak_why"]:
        note += f"No peak: {first['peak_why']}."
    bars = bus_bandwidth_bars(known)
    return [PlainChart("links", "Bus bandwidth by collective", note, bars)]


def arrivals_section(trace: Trace, rank: int) -> list[PlainChart]:
    """Return how late each rank joins the collectives."""
    spread = trace.fact(arrival_spread)
    if not len(spread):
        return []
    ranks = trace.table("ranks")
    note = ARRIVALS_NOTE
    residual_ns = -1 if ranks is None else int(ranks["clock_residual_ns"].max())
    if residual_ns >= 0:
        note += f"The clocks of the ranks agree within {ms(residual_ns)}."
    shown = shown_arrivals(spread, rank)
    title = "Arrival skew by rank"
    if len(shown) < len(spread):
        title += f": the {SHOWN_RANKS} of {len(spread)} ranks that join last, and rank {rank}"
    return [PlainChart("arrivals", title, note, arrival_bars(shown))]


def with_bandwidths(rows: pd.DataFrame, links: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with the bandwidth of their kind and the peak of their group."""
    by_name = {(str(link["group"]), str(link["kind"])): link for link in links.to_dict("records")}
    names = zip(rows["group"], rows["kind"], strict=True)
    links_of_rows = [by_name.get((str(group), str(kind))) for group, kind in names]
    bandwidths = [link_bandwidth(link) for link in links_of_rows]
    return rows.assign(bandwidth=bandwidths, peak=[peak_text(link) for link in links_of_rows])


def link_bandwidth(link: dict[Any, Any] | None) -> str:
    """Return the bus bandwidth of a collective, as a lower bound where it is one."""
    if link is None or pd.isna(link["bus_bytes_per_s"]):
        return "not known"
    bound = "at least " if link["at_least"] else ""
    return bound + gigabytes_per_s(link["bus_bytes_per_s"])


def peak_text(link: dict[Any, Any] | None) -> str:
    """Return the peak of a group's links, and their technology."""
    if link is None or pd.isna(link["peak_bytes_per_s"]):
        return "not known"
    bound = "at most " if link["peak_at_most"] else ""
    return f"{bound}{gigabytes_per_s(link['peak_bytes_per_s'])}, {link['technology']}"
