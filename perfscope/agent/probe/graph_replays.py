"""Times replays of captured graphs that the program makes itself: the step of a loop that captured
its whole step, and calls neither modules nor an optimizer.

A replay inside the call of a module is a part of that call. Compiled code replays graphs itself,
and so does backward on threads of its own: only replays of the main thread count, in programs that
compile nothing. torch.compile never traces a replay.
"""

import sys
import time
from _thread import get_ident, get_native_id
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfscope.agent.probe.core import InstalledProbe

MODULES: "dict[str, Any]" = globals().get("MODULES", {})  # the probe's other files, set before


def install(probe: "InstalledProbe") -> None:
    """Patch the method that replays a graph."""
    if "torch" not in sys.modules or MODULES["process_state"].in_worker():
        return
    for module, class_name in MODULES["graph_captures"].GRAPHS:
        owner = getattr(sys.modules.get(module), class_name, None)
        if owner is not None and "replay" in vars(owner):
            probe.patches.put(owner, "replay", timed_replay(probe, vars(owner)["replay"]))


def timed_replay(probe: "InstalledProbe", original: Any) -> Any:
    """Return `replay` with a record of each call that is not a part of a module's call."""
    kind, put, callbacks = probe.kinds["FORWARD"], probe.records.append, probe.forward_began
    inside, now = MODULES["module_calls"].threads_inside(probe), time.monotonic_ns
    compilation, main = probe.compilation, probe.tids

    def begin(args: Any, kwargs: Any) -> "int | None":
        thread = get_ident()
        if thread not in main or thread in inside or compilation.in_use:
            return None
        for callback in callbacks:
            callback()
        return now()

    def end(begun: int, args: Any, answer: Any, raised: Any) -> None:
        code = probe.register_name(("graph", id(args[0])), "module", type(args[0]).__name__)
        put((kind, get_native_id(), begun, now() - begun, code, -1, -1, -1, -1, -1, -1, -1))

    return probe.wrap(original, begin, end)
