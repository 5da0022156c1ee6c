"""The style of the pages and the report, and the colors that their scripts use.

It needs no pandas, so that the list of runs is served before the pages are imported.
"""

import json
from importlib.resources import files

from perfscope.ui.theme import DARK, LIGHT, Palette, ink

STYLES = (
    "page.css",
    "verdict.css",
    "report.css",
    "search.css",
    "tables.css",
    "step_chart.css",
    "plain_charts.css",
)


def report_style() -> str:
    """Return palettes and style: dark where the system or the reader chose it, else light."""
    dark_system = "@media screen and (prefers-color-scheme:dark)"
    palettes = [
        variables("html", LIGHT),
        f"{dark_system}{{{variables('html:not(.light)', DARK)}}}",
        f"@media screen{{{variables('html.dark', DARK)}}}",
    ]
    return "".join(palettes) + "".join(map(asset, STYLES))


def variables(selector: str, palette: Palette) -> str:
    """Return a palette as CSS variables."""
    colors = page_colors(palette)
    for category, color in palette.category.items():
        name = category.replace("_", "-")
        colors |= {name: color, f"{name}-ink": ink(color)}
    declarations = "".join(f"--{name}:{color};" for name, color in colors.items())
    return f"{selector}{{color-scheme:{palette.scheme};{declarations}}}"


def page_colors(palette: Palette) -> dict[str, str]:
    """Return the colors of a palette that do not belong to a category."""
    return {
        "bg": palette.bg,
        "surface": palette.surface,
        "text": palette.text,
        "muted": palette.muted,
        "line": palette.line,
        "accent": palette.accent,
    }


def script_colors(palette: Palette) -> dict[str, str]:
    """Return the colors that the script repaints figures with."""
    return page_colors(palette) | palette.category


def embedded(data: object) -> str:
    """Return data as JSON inside a script element, which nothing in it can end."""
    return json.dumps(data).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def asset(name: str) -> str:
    """Return the text of a style or a script."""
    return files("perfscope.ui.assets").joinpath(name).read_text("utf-8")
