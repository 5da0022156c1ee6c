"""The pages of a run, one per file, in the order of the navigation."""

from perfscope.ui.dashboard.page import Page
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

PAGES: tuple[Page, ...] = (
    overview.PAGE,
    timeline.PAGE,
    input_pipeline.PAGE,
    operators.PAGE,
    communication.PAGE,
    devices.PAGE,
    memory.PAGE,
    stacks.PAGE,
    host.PAGE,
)
