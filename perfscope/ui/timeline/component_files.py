"""The script and the style of the timeline component."""

from importlib.resources import files

SCRIPTS = (
    "timeline/tile.js",
    "timeline/source.js",
    "timeline/paint.js",
    "timeline/layout.js",
    "timeline/draw.js",
    "timeline/strip.js",
    "timeline/panel.js",
    "timeline/panel_edge.js",
    "timeline/why.js",
    "timeline/tip.js",
    "timeline/input.js",
    "timeline/pictures.js",
    "timeline/address.js",
    "timeline/actions.js",
    "timeline/component.js",
)
STYLE, EMBEDDED = "timeline/style.css", "timeline/embedded.js"


def timeline_script() -> str:
    """Return the script of the component, its parts in the order of their dependencies."""
    return "\n".join(
        files("perfscope.ui.assets").joinpath(name).read_text("utf-8") for name in SCRIPTS
    )


def timeline_style() -> str:
    """Return the style of the component."""
    return files("perfscope.ui.assets").joinpath(STYLE).read_text("utf-8")
