"""Steps and the training thread, and below them the fetches of each worker, on one time axis."""

from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from perfscope.ui.figures.figure_layout import figure, legend_above, time_axis
from perfscope.ui.figures.hatch import hatch
from perfscope.ui.theme import LIGHT

LANE_HEIGHT = 30
MAIN, STEPS = "main", "steps"
RANGES = (
    (
        ("forward", "backward", "optimizer", "scaler"),
        "forward, backward, optimizer",
        "compute-or-host",
    ),
    (("sync",), "synchronization", "sync-wait"),
    (("gc",), "garbage collection", "host-bound"),
    (("checkpoint",), "checkpoint", "checkpoint"),
)


@dataclass(frozen=True)
class WorkerTables:
    """The tables of one rank and its workers, or None; times are in ns."""

    steps: pd.DataFrame | None
    loader: pd.DataFrame | None
    ranges: pd.DataFrame | None
    copies: pd.DataFrame | None
    fetches: pd.DataFrame | None


def worker_timeline(lanes: WorkerTables, view_s: tuple[float, float]) -> go.Figure:
    """Return bars for everything in `lanes`; the view is at `view_s`."""
    order = [*([STEPS] if rows(lanes.steps) else []), MAIN, *worker_lanes(lanes.fetches).values()]
    fig = figure(76 + LANE_HEIGHT * len(order))
    if lanes.steps is not None:
        add_step_bars(fig, lanes.steps)
    add_main(fig, lanes)
    if lanes.fetches is not None:
        add_workers(fig, lanes.fetches)
    fig.update_layout(
        barmode="overlay", uniformtext={"minsize": 10, "mode": "hide"}, dragmode="pan"
    )
    fig.update_yaxes(
        categoryorder="array", categoryarray=order[::-1], showgrid=False, fixedrange=True, ticklen=0
    )
    return legend_above(time_axis(fig, view_s))


def rows(table: pd.DataFrame | None) -> int:
    """Return the number of rows."""
    return 0 if table is None else len(table)


@dataclass(frozen=True)
class LaneBars:
    """Bars of one kind: a lane, a begin and a duration in ns for each."""

    name: str
    category: str
    lanes: list[str]
    ts: pd.Series
    dur: pd.Series
    in_legend: bool = True


def add_bars(fig: go.Figure, bars: LaneBars) -> None:
    """Add the bars, if there are any."""
    if not len(bars.ts):
        return
    fig.add_bar(
        orientation="h",
        y=bars.lanes,
        base=[round(value / 1e9, 6) for value in bars.ts],
        x=[round(value / 1e9, 6) for value in bars.dur],
        width=0.7,
        name=bars.name,
        showlegend=bars.in_legend,
        meta={"category": bars.category},
        marker={
            "color": LIGHT.category[bars.category],
            "line": {"width": 0},
            "pattern": hatch(bars.category),
        },
        customdata=[round(value / 1e6, 3) for value in bars.dur],
        hovertemplate=(
            f"{bars.name}: %{{customdata:.4g}} ms<br>from %{{base:.4f}} s<extra>%{{y}}</extra>"
        ),
    )


def add_step_bars(fig: go.Figure, steps: pd.DataFrame) -> None:
    """Add the steps with their numbers, every second one lighter."""
    for odd in (0, 1):
        part = steps[steps["index"] % 2 == odd]
        if not len(part):
            continue
        lanes = [STEPS] * len(part)
        dur = part["dur"] + part["cut"]
        add_bars(fig, LaneBars("step", f"step_{odd}", lanes, part["ts"], dur, in_legend=False))
        fig.data[-1].update(
            text=[str(index) for index in part["index"]],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            hovertemplate=(
                "step %{text}: %{customdata:.4g} ms<br>from %{base:.4f} s<extra></extra>"
            ),
        )


def add_main(fig: go.Figure, lanes: WorkerTables) -> None:
    """Add what the training thread does and what it waits for."""
    if lanes.ranges is not None:
        for range_categories, name, category in RANGES:
            of_kind = lanes.ranges["category"].isin(range_categories)
            add_main_bars(fig, name, category, lanes.ranges[of_kind])
    if lanes.copies is not None:
        add_main_bars(fig, "copy", "exposed-copy", lanes.copies)
    if lanes.loader is not None:
        add_main_bars(fig, "waiting for a batch", "input-wait", lanes.loader)


def add_main_bars(fig: go.Figure, name: str, category: str, table: pd.DataFrame) -> None:
    """Add the rows of a table to the lane of the training thread."""
    lanes = [MAIN] * len(table)
    add_bars(fig, LaneBars(name, category, lanes, table["ts"], table["dur"]))


def worker_lanes(fetches: pd.DataFrame | None) -> dict[int, str]:
    """Return the lane of each process, by worker number.

    Two loaders can both have a worker 0; then the lanes have the number of the process.
    """
    if fetches is None or not len(fetches):
        return {}
    pairs = sorted(
        {(int(w), int(p)) for w, p in zip(fetches["worker"], fetches["process"], strict=True)}
    )
    workers = [worker for worker, _ in pairs]
    lanes = {}
    for worker, process in pairs:
        name = "loading in main" if worker < 0 else f"worker {worker}"
        lanes[process] = f"{name} (process {process})" if workers.count(worker) > 1 else name
    return lanes


def add_workers(fig: go.Figure, fetches: pd.DataFrame) -> None:
    """Add each fetch: the time in the dataset, then in collate."""
    lane_of = worker_lanes(fetches)
    lanes = [lane_of[int(process)] for process in fetches["process"]]
    begin = fetches["ts"]
    dataset = fetches["dataset_ns"].clip(lower=0)
    collate = fetches["collate_ns"].clip(lower=0)
    add_bars(fig, LaneBars("dataset", "input_dataset", lanes, begin, dataset))
    add_bars(fig, LaneBars("collate", "input_collate", lanes, begin + dataset, collate))
