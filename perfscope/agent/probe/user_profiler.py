"""The program's own use of torch's profiler, which takes precedence over our windows."""

import sys
from _thread import get_ident
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.kernels import WindowRecorder

ON_OR_PREPARED = "the program's own profiler is on or being prepared, and perfscope waits for it"
BEING_PREPARED = "the program's own profiler is being prepared, and perfscope waits for it"


class UserProfiler:
    """Watches the functions by which Python begins and ends a profile.

    A window that is on is ended before a profile of the program begins.
    """

    def __init__(self, recorder: "WindowRecorder") -> None:
        self.recorder = recorder
        self.probe, self.api, self.sessions = recorder.probe, recorder.api, recorder.sessions
        self.begun: set[int] = set()

    def watch(self) -> None:
        """Patch the functions from now on."""
        self.api.take_functions()
        put = self.probe.patches.put
        for owner in (
            sys.modules.get("torch.autograd.profiler"),
            self.api.autograd,
            sys.modules.get("torch.autograd"),
        ):
            functions = vars(owner)
            for name in ("_prepare_profiler", "_enable_profiler"):
                if name in functions:
                    put(owner, name, self.ending_window_first(functions[name]))
            if "_disable_profiler" in functions:
                wrapper = self.noting_end(functions["_disable_profiler"])
                put(owner, "_disable_profiler", wrapper)

    def ending_window_first(self, original: "Callable[..., Any]") -> Any:
        """Return `original`, which begins or prepares a profile, made to end our window first."""

        def begin(args: Any, kwargs: Any) -> bool:
            count = len(self.begun)
            self.begun.add(get_ident())  # first, so that no window begins from now on
            self.recorder.end_for_program()
            self.sessions.user_session_begins(count)
            return True

        def end(_begun: bool, args: Any, answer: Any, raised: Any) -> None:
            self.sessions.user_session_began()

        return self.probe.wrap(original, begin, end)

    def noting_end(self, original: "Callable[..., Any]") -> Any:
        """Return `original`, which ends a profile, made to note that it has ended."""

        def begin(args: Any, kwargs: Any) -> bool:
            return bool(self.begun)

        def end(seen: bool, args: Any, answer: Any, raised: Any) -> None:
            self.begun.discard(get_ident())
            if not self.api.any_on():
                self.begun.clear()  # begun on one thread, ended on another
            self.sessions.user_session_ended(seen=seen, count=len(self.begun))

        return self.probe.wrap(original, begin, end)

    def refusal(self) -> "str | None":
        """Return why the program's profiler allows no window now, None if it does."""
        module = sys.modules.get("torch.autograd.profiler")
        busy = self.api.busy()
        if self.begun or getattr(module, "_is_profiler_enabled", False) or busy:
            return ON_OR_PREPARED
        if busy is None and has_prepared_profiler():
            return BEING_PREPARED
        return None


def has_prepared_profiler() -> bool:
    """Return whether the program has a profiler that is prepared and not yet ended.

    This looks at all objects, and is used only if Kineto does not show its state.
    """
    profile = getattr(sys.modules.get("torch.autograd.profiler"), "profile", None)
    gc = sys.modules.get("gc")
    if profile is None or gc is None:
        return False
    profiles = [thing for thing in gc.get_objects() if type(thing) is profile]
    return any(thing.entered and thing.kineto_results is None for thing in profiles)
