"""The pages of a run, one per file, in the order of the navigation."""

from perfscope.ui.dashboard.page import Page
from perfscope.ui.dashboard.pages import (
    by_code,
    communication,
    devices,
    host,
    input_pipeline,
    memory,
    operators,
    overview,
    requests,
    timeline,
)

PAGES: tuple[Page, ...] = (
    overview.PAGE,
    timeline.PAGE,
    requests.PAGE,
    by_code.PAGE,
    input_pipeline.PAGE,
    operators.PAGE,
    communication.PAGE,
    devices.PAGE,
    memory.PAGE,
    host.PAGE,
)
