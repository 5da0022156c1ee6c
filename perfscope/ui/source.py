"""What a dashboard stands on: the runs, their verdicts, who may ask, and the recording that is under way, if one is."""

from dataclasses import dataclass

from perfscope.ui.gate import Gate
from perfscope.ui.library import Library
from perfscope.ui.recording import Recording
from perfscope.ui.verdicts import Verdicts
from perfscope.ui.watch import Watch


@dataclass(frozen=True)
class Live:
    """A recording under way; without `recording` it is another process's, and can be watched but not steered."""

    watch: Watch
    recording: Recording | None = None


@dataclass(frozen=True)
class Source:
    """Everything `create_app` needs."""

    library: Library
    verdicts: Verdicts
    gate: Gate
    live: Live | None = None
