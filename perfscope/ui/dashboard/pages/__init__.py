"""The pages of a run, one a file: PATH, TITLE, `not_applicable(trace)` -> why there is no such
page, or None; `layout(view)`; `register(app, library)` for what it does by itself. Their order is
that of the navigation.
"""

from perfscope.ui.dashboard.pages import (
    communication,
    devices,
    host,
    input_pipeline,
    memory,
    operators,
    overview,
    stacks,
    timeline,
)

PAGES = (
    overview,
    timeline,
    input_pipeline,
    operators,
    communication,
    devices,
    memory,
    stacks,
    host,
)
