"""Counts the captures of graphs (CUDA graphs and their like) that are under way.

While a graph is captured, many calls of the driver break the capture, from whichever thread they
come. torch has no flag that another thread can read: the state of a capture belongs to a stream,
and any library may capture on a stream of its own. So the calls of the Python methods that begin
and end a capture are counted. torch.compile never traces them. A capture that began before the
probe was installed is not seen.
"""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfscope.agent.probe.core import InstalledProbe

GRAPHS = (
    ("torch.cuda.graphs", "CUDAGraph"),
    ("torch.xpu.graphs", "XPUGraph"),
    ("torch.accelerator.graphs", "Graph"),
)


class GraphCaptures:
    """The captures of this process: `count` are under way, `seen` says whether any began."""

    def __init__(self) -> None:
        self.count = 0
        self.seen = False
        self.watched = False

    def watch(self, probe: "InstalledProbe") -> None:
        """Count captures from now on; may be called again."""
        if self.watched:
            return
        self.watched = True
        for module, class_name in GRAPHS:
            owner = getattr(sys.modules.get(module), class_name, None)
            for name, begin, end in (
                ("capture_begin", self.capture_begins, self.capture_began),
                ("capture_end", self.capture_ends, self.capture_ended),
            ):
                if owner is not None and name in vars(owner):
                    probe.patches.put(owner, name, probe.wrap(vars(owner)[name], begin, end))

    def capture_begins(self, args: Any, kwargs: Any) -> bool:
        self.seen = True
        self.count += 1
        return True

    def capture_began(self, _begun: bool, args: Any, answer: Any, raised: Any) -> None:
        if raised is not None:
            self.capture_ended(True, args, answer, raised)

    def capture_ends(self, args: Any, kwargs: Any) -> bool:
        return True

    def capture_ended(self, _begun: bool, args: Any, answer: Any, raised: Any) -> None:
        """Count down, but not below zero: the capture may have begun before the probe was here."""
        self.count = max(self.count - 1, 0)


def captures_of(probe: "InstalledProbe") -> GraphCaptures:
    """Return the captures of a probe; all parts share them."""
    return probe.shared.setdefault("graph_captures", GraphCaptures())  # type: ignore[no-any-return]
