"""What a dashboard serves: the runs, their verdicts, its access rules, and a live recording."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfscope.ui.dashboard.auth import Access
from perfscope.ui.dashboard.open_runs import Library
from perfscope.ui.dashboard.verdicts import Verdicts

if TYPE_CHECKING:
    from perfscope.ui.dashboard.live_run import RunWatch
    from perfscope.ui.dashboard.recording import SteeredRecording


@dataclass(frozen=True)
class Live:
    """A live recording; without `recording` another process controls it, and it is only shown."""

    watch: "RunWatch"
    recording: "SteeredRecording | None" = None


@dataclass(frozen=True)
class DashboardSource:
    """Everything that `create_app` needs."""

    library: Library
    verdicts: Verdicts
    access: Access
    live: Live | None = None
