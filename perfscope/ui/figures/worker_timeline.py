"""The training thread's waits above, each worker's fetches below, on one time axis."""

from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from perfscope.ui.figures.frame import figure
from perfscope.ui.theme import LIGHT

MOST_BARS = 6000
FIRST_LOOK_S = 2.0
LANE_HEIGHT = 26


@dataclass(frozen=True)
class Bars:
    """One kind of bar: where, how long (seconds), in which lane."""

    label: str
    category: str
    lane: list[str]
    begin_s: list[float]
    dur_s: list[float]


def worker_timeline(
    loader: pd.DataFrame | None, fetches: pd.DataFrame | None, ranges: pd.DataFrame | None
) -> go.Figure:
    """Tables of one rank and its workers, ns from the job's time zero. At most 6,000 bars are embedded, from the start on."""
    kinds = [*main_bars(loader, ranges), *worker_bars(fetches)]
    lanes = sorted({lane for kind in kinds for lane in kind.lane}, key=lane_order, reverse=True)
    fig = figure(70 + LANE_HEIGHT * max(len(lanes), 1), x_title="seconds into the recording")
    for kind in kinds:
        if not kind.lane:
            continue
        fig.add_bar(
            orientation="h",
            y=kind.lane,
            base=kind.begin_s,
            x=kind.dur_s,
            width=0.72,
            name=kind.label,
            meta={"category": kind.category},
            marker={"color": LIGHT.category[kind.category], "line": {"width": 0}},
            hovertemplate=f"{kind.label}: %{{customdata:.2f}} ms<br>from %{{base:.4f}} s<extra>%{{y}}</extra>",
            customdata=[1000 * dur for dur in kind.dur_s],
        )
    begins = [begin for kind in kinds for begin in kind.begin_s]
    first = min(begins, default=0.0)
    fig.update_layout(
        barmode="overlay", showlegend=True, legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0}
    )
    fig.update_xaxes(range=[first, first + FIRST_LOOK_S])
    fig.update_yaxes(categoryorder="array", categoryarray=lanes, showgrid=False, title={"text": ""})
    fig.update_layout(margin={"t": 32})
    return fig


def lane_order(lane: str) -> tuple[int, int]:
    return (0, 0) if lane == "main" else (1, int(lane.rpartition(" ")[2]))


def bars(rows: pd.DataFrame, label: str, category: str, lane: list[str], begin: pd.Series, dur: pd.Series) -> Bars:
    most = MOST_BARS // 4
    return Bars(label, category, lane[:most], list(begin[:most] / 1e9), list(dur[:most] / 1e9))


def main_bars(loader: pd.DataFrame | None, ranges: pd.DataFrame | None) -> list[Bars]:
    """Waits, computation and checkpoints of the training thread."""
    kinds = []
    if ranges is not None:
        work = ranges[ranges["category"].isin(["forward", "backward", "optimizer"])].sort_values("ts")
        kinds.append(
            bars(work, "forward, backward, optimizer", "compute_or_host", ["main"] * len(work), work["ts"], work["dur"])
        )
        saves = ranges[ranges["category"] == "checkpoint"]
        kinds.append(bars(saves, "checkpoint", "checkpoint", ["main"] * len(saves), saves["ts"], saves["dur"]))
    if loader is not None:
        waits = loader.sort_values("ts")
        kinds.append(bars(waits, "waiting for a batch", "input_wait", ["main"] * len(waits), waits["ts"], waits["dur"]))
    return kinds


def worker_bars(fetches: pd.DataFrame | None) -> list[Bars]:
    """What the workers make: dataset time, then collate time."""
    if fetches is None:
        return []
    rows = fetches[fetches["worker"] >= 0].sort_values("ts")
    lane = [f"worker {worker}" for worker in rows["worker"]]
    return [
        bars(rows, "dataset", "sync_wait", lane, rows["ts"], rows["dataset_ns"]),
        bars(rows, "collate", "exposed_copy", lane, rows["ts"] + rows["dataset_ns"], rows["collate_ns"]),
    ]
