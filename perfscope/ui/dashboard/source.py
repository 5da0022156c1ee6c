"""What a dashboard serves: the runs, their verdicts, its access rules, and a live recording."""

from dataclasses import dataclass

from perfscope.ui.dashboard.auth import Access
from perfscope.ui.dashboard.library import Library
from perfscope.ui.dashboard.recording import Recording
from perfscope.ui.dashboard.verdicts import Verdicts
from perfscope.ui.dashboard.watch import Watch


@dataclass(frozen=True)
class Live:
    """A live recording; without `recording` another process controls it, and it is only shown."""

    watch: Watch
    recording: Recording | None = None


@dataclass(frozen=True)
class Source:
    """Everything that `create_app` needs."""

    library: Library
    verdicts: Verdicts
    access: Access
    live: Live | None = None
