"""A profiler of the program's own has the way: who has one on or prepared, and what makes ours end
before theirs begins.
"""

import sys
from _thread import get_ident
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.kernels import Windows


class Theirs:
    """Watches the functions by which Python begins and ends a profile, and ends `windows` that are
    on before theirs begins.
    """

    def __init__(self, windows: "Windows") -> None:
        self.windows = windows
        self.probe, self.doors, self.sessions = windows.probe, windows.doors, windows.sessions
        self.begun: set[int] = set()

    def watch(self) -> None:
        """From now on theirs goes first."""
        self.doors.take_doors()
        for owner in (
            sys.modules.get("torch.autograd.profiler"),
            self.doors.autograd,
            sys.modules.get("torch.autograd"),
        ):
            for name in ("_prepare_profiler", "_enable_profiler"):
                if name in vars(owner):
                    self.probe.patches.put(owner, name, self.giving_way(vars(owner)[name]))
            if "_disable_profiler" in vars(owner):
                self.probe.patches.put(
                    owner, "_disable_profiler", self.over_after(vars(owner)["_disable_profiler"])
                )

    def giving_way(self, original: "Callable[..., Any]") -> Any:
        """Return `original`, which begins or prepares a profile of theirs, made to wait for the end
        of ours.
        """

        def begins(args: Any, kwargs: Any) -> bool:
            count = len(self.begun)
            self.begun.add(get_ident())  # before the wait: no window begins from now on
            self.windows.make_way()
            self.sessions.theirs_began(count)
            return True

        def begun(_begun: bool, args: Any, answer: Any, raised: Any) -> None:
            self.sessions.theirs_is_on()

        return self.probe.around(original, begins, begun)

    def over_after(self, original: "Callable[..., Any]") -> Any:
        """Return `original`, which ends a profile of theirs, made to tell that it is over."""

        def ends(args: Any, kwargs: Any) -> bool:
            return bool(self.begun)

        def ended(seen: bool, args: Any, answer: Any, raised: Any) -> None:
            self.begun.discard(get_ident())
            if not self.doors.any_on():
                self.begun.clear()  # begun on one thread, ended on another
            self.sessions.theirs_ended(seen=seen, count=len(self.begun))

        return self.probe.around(original, ends, ended)

    def in_the_way(self) -> str | None:
        """Why no window can be taken now."""
        module = sys.modules.get("torch.autograd.profiler")
        busy = self.doors.busy()
        if self.begun or getattr(module, "_is_profiler_enabled", False) or busy:
            return "a profiler of the program's own is on or getting ready: it is left alone"
        if busy is None and preparing():
            return "a profiler of the program's own is getting ready: it is left alone"
        return None


def preparing() -> bool:
    """Has the program a profiler that is prepared and not yet ended? Walks over all objects: only
    where Kineto does not tell.
    """
    made = getattr(sys.modules.get("torch.autograd.profiler"), "profile", None)
    gc = sys.modules.get("gc")
    if made is None or gc is None:
        return False
    theirs = [one for one in gc.get_objects() if type(one) is made]
    return any(one.entered and one.kineto_results is None for one in theirs)
