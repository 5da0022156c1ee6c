"""The roofline: a point per operator and combination of shapes, under the peaks of the device."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from perfscope.analyzer.compute.roofline import MEMORY
from perfscope.analyzer.hardware.peaks import Peaks
from perfscope.analyzer.number_text import digits, ms, percent
from perfscope.ui.figures.figure_layout import figure, legend_above
from perfscope.ui.theme import LIGHT

MOST_POINTS = 200
SMALLEST, LARGEST = 6.0, 34.0
LONGEST_SHAPES = 90
DECADES = 1.0
SMALLEST_SHARE = 0.001
SMALLEST_SHARE_OF_A_PEAK = 0.01
POINT_CATEGORY = "device-compute"


@dataclass(frozen=True)
class Limit:
    """What limits an operator: arithmetic, or memory where its intensity is below the ridge."""

    label: str
    symbol: str
    is_memory: bool


LIMITS_OF_OPERATORS = (
    Limit("limited by arithmetic", "circle", is_memory=False),
    Limit("limited by memory", "diamond-open", is_memory=True),
)


def roofline(rows: pd.DataFrame, peaks: Peaks) -> go.Figure:
    """Return the figure of one device; `rows` are those of the fact `roofline_table`.

    The 200 longest are drawn, except those below a thousandth of the time.
    """
    is_large = rows["work_ns"] >= SMALLEST_SHARE * float(rows["work_ns"].sum())
    shown = rows[(rows["flops"] > 0) & (rows["bytes"] > 0) & (rows["work_ns"] > 0) & is_large].head(
        MOST_POINTS
    )
    fig = figure(460, x_title="arithmetic intensity, FLOP per byte", y_title="TFLOP/s achieved")
    x, y = shown["intensity"].to_numpy(float), shown["flops_per_s"].to_numpy(float) / 1e12
    span = (float(x.min()) / 10**DECADES, float(x.max()) * 10**DECADES) if len(x) else (0.1, 1000.0)
    top = max(float(y.max()) if len(y) else 1.0, add_roofs(fig, peaks, shown, span))
    whole_ns = float(rows["work_ns"].sum()) or 1.0
    for side in LIMITS_OF_OPERATORS:
        of_side = shown[(shown["side"] == MEMORY) == side.is_memory]
        if len(of_side):
            add_points(fig, of_side, side, whole_ns)
    low = float(y.min()) if len(y) else 0.001
    fig.update_xaxes(type="log", range=list(np.log10(span)), dtick=1, exponentformat="power")
    fig.update_yaxes(
        type="log",
        range=[np.log10(low) - 0.5, np.log10(top) + 0.5],
        dtick=1,
        exponentformat="power",
    )
    fig.update_layout(margin={"r": 20, "l": 70})
    return legend_above(fig)


def add_points(fig: go.Figure, rows: pd.DataFrame, side: Limit, whole_ns: float) -> None:
    """Add a point per operator; its area is its share of `whole_ns`.

    A click shows its longest call: `customdata` starts with begin and end in seconds.
    """
    share = rows["work_ns"].to_numpy(float) / whole_ns
    tooltips = [
        [
            ts / 1e9,
            (ts + max(ns, 1)) / 1e9,
            name,
            shapes(text),
            dtype,
            ms(work),
            percent(share_of_row),
            roof_share_text(roof_share),
        ]
        for ts, ns, name, text, dtype, work, share_of_row, roof_share in zip(
            rows["longest_ts"],
            rows["longest_ns"],
            rows["name"],
            rows["shapes"],
            rows["dtype"],
            rows["work_ns"],
            share,
            rows["roof_share"],
            strict=True,
        )
    ]
    fig.add_scatter(
        x=rows["intensity"].to_numpy(float),
        y=rows["flops_per_s"].to_numpy(float) / 1e12,
        mode="markers",
        name=side.label,
        meta={"category": POINT_CATEGORY},
        marker={
            "symbol": side.symbol,
            "size": np.clip(LARGEST * np.sqrt(share * 4), SMALLEST, LARGEST),
            "color": LIGHT.category[POINT_CATEGORY],
            "opacity": 0.75,
        },
        customdata=tooltips,
        hovertemplate=(
            "<b>%{customdata[2]}</b> %{customdata[4]}<br>%{customdata[3]}<br>%{customdata[5]},"
            " %{customdata[6]} of the time<br>%{x:.3g} FLOP per byte, %{y:.3g}"
            " TFLOP/s%{customdata[7]}<extra></extra>"
        ),
    )


def add_roofs(fig: go.Figure, peaks: Peaks, rows: pd.DataFrame, span: tuple[float, float]) -> float:
    """Add the peaks of memory and of each kind of arithmetic that takes a noticeable time.

    Returns the highest peak in TFLOP/s.
    """
    kinds = rows.groupby(["dtype", "matrix"], sort=False)["work_ns"].sum().reset_index()
    rates: dict[float, list[str]] = {}
    whole = float(rows["work_ns"].sum()) or 1.0
    for dtype, matrix, time_ns in kinds.itertuples(index=False):
        rate = peaks.flops_per_s(str(dtype), matrix=bool(matrix))
        if rate and time_ns >= SMALLEST_SHARE_OF_A_PEAK * whole:
            rates.setdefault(rate, []).append(
                f"matrix multiplication, {dtype}" if matrix else "other arithmetic"
            )
    if not rates:
        return 0.0
    ridge = max(rates) / peaks.bytes_per_s
    memory_roof_x = [span[0], max(span[0], min(ridge, span[1]))]
    fig.add_scatter(
        x=memory_roof_x,
        y=[intensity * peaks.bytes_per_s / 1e12 for intensity in memory_roof_x],
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        line={"color": LIGHT.muted, "width": 1.4},
        meta={"category": "other-idle"},
    )
    for rate, names in rates.items():
        begin = max(span[0], rate / peaks.bytes_per_s)
        fig.add_scatter(
            x=[begin, max(span[1], begin)],
            y=[rate / 1e12] * 2,
            mode="lines",
            hoverinfo="skip",
            showlegend=False,
            line={
                "color": LIGHT.muted,
                "width": 1.4,
                "dash": "solid" if rate == max(rates) else "dot",
            },
            meta={"category": "other-idle"},
        )
        fig.add_annotation(
            x=np.log10(span[1]),
            y=np.log10(rate / 1e12),
            text=f"{digits(rate / 1e12)} TFLOP/s: {', '.join(sorted(set(names)))}",
            showarrow=False,
            xanchor="right",
            yanchor="bottom",
        )
    label_x = span[0] * 10 ** (DECADES / 3)
    fig.add_annotation(
        x=np.log10(label_x),
        y=np.log10(label_x * peaks.bytes_per_s / 1e12),
        showarrow=False,
        xanchor="left",
        yanchor="top",
        text=f"memory: {peaks.bytes_per_s / 1e9:.4g} GB/s",
        xshift=12,
    )
    return max(rates) / 1e12


def shapes(text: str) -> str:
    """Return the shapes without spaces, shortened where they are long."""
    short = "".join(text.split())
    return short if len(short) <= LONGEST_SHAPES else short[:LONGEST_SHAPES] + "…"


def roof_share_text(share: float) -> str:
    """Return the share of the roofline, nothing where it is not known."""
    return "" if share != share else f", {percent(share)} of the roofline"
