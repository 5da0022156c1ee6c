"""What a dashboard stands on: the runs, their verdicts, who may ask, and the recording that is
under way, if one is.
"""

from dataclasses import dataclass

from perfscope.ui.dashboard.auth import Access
from perfscope.ui.dashboard.library import Library
from perfscope.ui.dashboard.recording import Recording
from perfscope.ui.dashboard.verdicts import Verdicts
from perfscope.ui.dashboard.watch import Watch


@dataclass(frozen=True)
class Live:
    """A recording under way; without `recording` it is another process's, and can be watched but
    not steered.
    """

    watch: Watch
    recording: Recording | None = None


@dataclass(frozen=True)
class Source:
    """Everything `create_app` needs."""

    library: Library
    verdicts: Verdicts
    access: Access
    live: Live | None = None
