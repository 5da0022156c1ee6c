"""The time of a device by kernel class: a bar each, the largest on top."""

import pandas as pd

from perfscope.analyzer.number_text import ms, percent
from perfscope.ui.html.bar_rows import BarRow, bar_rows

COLORS = {"communication": "exposed-communication", "copy": "exposed-copy"}


def kernel_class_bars(classes: pd.DataFrame) -> str:
    """Return the chart of one device; `classes` are rows of the fact `kernel_classes`."""
    rows = classes.sort_values("sum_ns", ascending=False)
    longest_ns = max(float(rows["sum_ns"].max()), 1.0)
    columns = zip(rows["kernel_class"], rows["sum_ns"], rows["share"], strict=True)
    return bar_rows(
        [
            BarRow(
                str(kernel_class),
                f"{ms(sum_ns)}, {percent(share)}",
                COLORS.get(str(kernel_class), "device-compute"),
                sum_ns / longest_ns,
            )
            for kernel_class, sum_ns, share in columns
        ]
    )
