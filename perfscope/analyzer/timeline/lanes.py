"""Every lane of a trace, by rank and process: steps, device streams, the main thread with its
runtime calls, other threads, workers, counters.
"""

import pandas as pd

from perfscope.analyzer.timeline.counter_tracks import counter_tracks
from perfscope.analyzer.timeline.device_tracks import stream_tracks
from perfscope.analyzer.timeline.host_tracks import step_tracks, thread_tracks, worker_tracks
from perfscope.analyzer.timeline.lane import Lane, lane
from perfscope.analyzer.timeline.names import Names
from perfscope.analyzer.timeline.track import Draft, Group, Lanes, Track
from perfscope.traces.trace import Trace


def timeline_lanes(trace: Trace) -> Lanes:
    """Return the lanes in the order in which they are shown; none without any event."""
    names = Names()
    known = processes_of(trace)
    drafts = [
        *step_tracks(trace, names),
        *thread_tracks(trace, names, parents(known)),
        *worker_tracks(trace, names, parents(known)),
        *stream_tracks(trace, names),
        *counter_tracks(trace, names),
    ]
    drafts = [draft for draft in drafts if any(map(len, draft.rows))]
    rank = {
        code: max(of_rank, 0) for code, of_rank in zip(known["process"], known["rank"], strict=True)
    }
    drafts.sort(key=lambda draft: (rank.get(draft.process, 0), draft.process, draft.order))
    return number_lanes(trace, names, drafts, known)


def processes_of(trace: Trace) -> pd.DataFrame:
    """Return the processes of a trace, empty where they were not recorded."""
    frame = trace.table("processes")
    columns = ["process", "rank", "pid", "name", "role", "parent"]
    return pd.DataFrame(columns=columns) if frame is None else frame[columns]


def parents(processes: pd.DataFrame) -> dict[int, int]:
    """Return, for each loader worker, the process that it works for."""
    workers = processes[processes["role"] == "loader-worker"]
    pairs = zip(workers["process"].tolist(), workers["parent"].tolist(), strict=True)
    return {int(worker): int(parent) for worker, parent in pairs if parent >= 0}


def number_lanes(trace: Trace, names: Names, drafts: list[Draft], processes: pd.DataFrame) -> Lanes:
    """Return the lanes with numbered tracks and groups."""
    lanes: list[Lane] = []
    tracks: list[Track] = []
    groups: dict[int, Group] = {}
    for draft in drafts:
        groups.setdefault(draft.process, group_of_process(draft.process, processes))
        rows = [lane(events) for events in draft.rows]
        number = list(groups).index(draft.process)
        events = sum(map(len, rows))
        place = (draft.process, draft.tid, draft.device, draft.stream)
        shown = (draft.kind, draft.title, len(lanes), len(rows), events, draft.hidden, draft.shut)
        tracks.append(Track(number, *shown, *place))
        lanes += rows
    notes = [f"Not drawn: {draft.cut}." for draft in drafts if draft.cut]
    deep = sum(draft.hidden for draft in drafts)
    notes += [f"Not drawn: {deep} events that are nested too deep."] if deep else []
    return Lanes(span_of_lanes(trace, lanes), names, lanes, tracks, list(groups.values()), notes)


def span_of_lanes(trace: Trace, lanes: list[Lane]) -> tuple[int, int]:
    """Return the span from the first to the last event; never empty."""
    begins = [int(lane.ts[0]) for lane in lanes if len(lane)]
    ends = [int(lane.ts[-1]) + int(lane.key[-1] >> lane.bits) for lane in lanes if len(lane)]
    if not begins:
        return trace.span_ns[0], max(trace.span_ns[1], trace.span_ns[0] + 1)
    return min(begins), max(max(ends), min(begins) + 1)


def group_of_process(process: int, processes: pd.DataFrame) -> Group:
    """Return the group of a process, titled `rank 1, python3 (pid 25286)`."""
    rows = processes[processes["process"] == process]
    if not len(rows):
        return Group(f"process {process}", process, 0)
    row = rows.iloc[0]
    pid = f" (pid {int(row['pid'])})" if row["pid"] > 0 else ""
    rank = int(row["rank"])
    several = int(processes["rank"].max() if len(processes) else 0) > 0
    who = f"{row['name'] or 'process'}{pid}"
    return Group(f"rank {rank}, {who}" if several and rank >= 0 else who, process, max(rank, 0))
