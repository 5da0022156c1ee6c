"""What `perfscope.profile()` gives: a context manager and decorator while it runs, the result
afterwards.
"""

import functools
import inspect
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from perfscope.agent.profiler_windows.window import DEFAULT_WINDOW, Window, window_of
from perfscope.errors import PerfscopeError, UsageError
from perfscope.profiling.session import SESSIONS, Session, own_rank
from perfscope.profiling.tracked_loader import TrackedLoader, is_timed_already

if TYPE_CHECKING:
    from perfscope.analyzer.diagnosis import Diagnosis
    from perfscope.traces.trace import Trace

DEPTHS = ("probe", "kernels")
Function = TypeVar("Function", bound=Callable[..., Any])


@overload
def profile(function: Function, /) -> Function: ...
@overload
def profile(
    *,
    out: "str | os.PathLike[str] | None" = None,
    depth: str = "kernels",
    window: Window | str = DEFAULT_WINDOW,
    show: bool = True,
) -> "Scope": ...
def profile(
    function: Callable[..., Any] | None = None,
    /,
    *,
    out: "str | os.PathLike[str] | None" = None,
    depth: str = "kernels",
    window: Window | str = DEFAULT_WINDOW,
    show: bool = True,
) -> Any:
    """Record what happens inside: `with perfscope.profile() as scope:`, or `@perfscope.profile`
    over a function.

    out: where the run folder is kept; without it `scope.save(path)` keeps it. depth: `kernels`
    takes one short window of torch's profiler, `probe` none; a process gets one window, so a later
    recording of it has neither operators nor kernels. window: how long that is, `steps=5` or
    `seconds=3`. show: print the diagnosis at the end, on stderr, in a notebook as a cell's
    output; of several ranks by rank 0. What is open inside another, also in other threads, shares
    its recording, and its result is of its own time.
    """
    if depth not in DEPTHS:
        raise UsageError(f"depth {depth!r} is not one of {', '.join(DEPTHS)}")
    asked = window_of(window) if isinstance(window, str) else window
    scope = Scope(Path(out) if out is not None else None, depth, asked, show)
    return scope if function is None else scope(function)


class Scope:
    """One region. Enter it as often as you like: its result is of the time from the first entry to
    the last exit.
    """

    def __init__(self, out: Path | None, depth: str, window: Window, show: bool) -> None:
        self.options = (out, depth, window)
        self.show = show
        self.lock = threading.Lock()
        self.depth = 0
        self.session: Session | None = None
        self.begin_ns = self.end_ns = 0
        self.answer: tuple[Trace, Diagnosis] | None = None

    def __enter__(self) -> "Scope":
        session = SESSIONS.join(*self.options)
        with self.lock:
            if self.depth == 0:
                self.session, self.begin_ns, self.answer = session, time.monotonic_ns(), None
            self.depth += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        assert self.session is not None
        with self.lock:
            self.depth -= 1
            self.end_ns = time.monotonic_ns()
        if SESSIONS.leave(self.session) and self.show and own_rank() <= 0:
            self.print_diagnosis()

    def __call__(self, function: Function) -> Function:
        """Over a function: each call is a region of its own, the last one's result is
        `function.scope`.

        That of a generator is open from its first value to its end.
        """
        out, depth, window = self.options

        def again() -> Scope:
            wrapper.scope = Scope(out, depth, window, self.show)
            return wrapper.scope  # type: ignore[no-any-return]

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with again():
                return function(*args, **kwargs)

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            with again():
                return await function(*args, **kwargs)

        @functools.wraps(function)
        def yielding(*args: Any, **kwargs: Any) -> Any:
            with again():
                return (yield from function(*args, **kwargs))

        @functools.wraps(function)
        async def streaming(*args: Any, **kwargs: Any) -> Any:
            with again():
                async with aclosing(function(*args, **kwargs)) as values:
                    async for value in values:
                        yield value

        wrapper: Any = called
        if inspect.iscoroutinefunction(function):
            wrapper = awaited
        elif inspect.isgeneratorfunction(function):
            wrapper = yielding
        elif inspect.isasyncgenfunction(function):
            wrapper = streaming
        wrapper.scope = self
        return wrapper  # type: ignore[no-any-return]

    # -- while it runs

    def step(self) -> None:
        """Mark the end of a step; needed only where perfscope cannot see the steps."""
        if self.session is not None:
            self.session.mark_step()

    def track(self, loader: Any) -> Any:
        """The same loader, with each wait for a batch recorded; PyTorch's own is timed without
        it.
        """
        if self.session is None or is_timed_already(loader):
            return loader
        return TrackedLoader(loader, self.session)

    @contextmanager
    def range(self, name: str) -> Iterator[None]:
        """A named part of the program; other tools see it as an NVTX range."""
        import nvtx

        with nvtx.annotate(name):
            yield

    # -- the result

    def result(self) -> "tuple[Trace, Diagnosis]":
        """Trace and diagnosis of this region. Raises PerfscopeError with the reason where there is
        none.

        While a scope around it is still open: of what has been written so far, up to a second ago.
        """
        from msgspec.structs import replace

        from perfscope.analyzer.diagnose import diagnose_trace
        from perfscope.traces.load import load_trace
        from perfscope.traces.time_slice import time_slice

        session = self.session
        if session is None:
            raise PerfscopeError("nothing was recorded: the scope was not entered")
        if session.trouble is not None:
            raise PerfscopeError(f"nothing was recorded: {session.trouble}")
        if self.answer is not None:
            return self.answer
        trace = load_trace(session.out)
        zero_ns = trace.manifest.zero_monotonic_ns
        if session.shared:
            end_ns = time.monotonic_ns() if self.depth else self.end_ns
            trace = time_slice(trace, self.begin_ns - zero_ns, end_ns - zero_ns)
        diagnosis = diagnose_trace(trace)
        if not session.kept:
            diagnosis = replace(diagnosis, run=None)
        if session.ended:
            self.answer = trace, diagnosis
        return trace, diagnosis

    @property
    def diagnosis(self) -> "Diagnosis":
        """What bounds it, what that costs, what to change: the same as `--json` prints."""
        return self.result()[1]

    def save(self, path: "str | os.PathLike[str]") -> Path:
        """Keep the run folder at `path` (it must not exist): `perfscope report`, `ui` and `analyze`
        open it.
        """
        import shutil

        self.result()
        assert self.session is not None
        if os.path.lexists(path):
            raise PerfscopeError(f"{os.fspath(path)} exists: name another folder, or remove it")
        return Path(shutil.copytree(self.session.out, path))

    def report(self, path: "str | os.PathLike[str]") -> Path:
        """Write the HTML report: one file that works offline."""
        from perfscope.ui.answer import save

        trace, diagnosis = self.result()
        save(trace, diagnosis, Path(path))
        return Path(path)

    def print_diagnosis(self) -> None:
        """Print the diagnosis to stderr or in a notebook; without one, print the reason."""
        from perfscope.ui.terminal.output import print_line

        try:
            trace, diagnosis = self.result()
        except PerfscopeError as error:
            print_line(f"perfscope: {error}", sys.stderr)
            return
        display = notebook()
        if display is not None:
            display(self)
            return
        from perfscope.ui.terminal.diagnosis_view import show

        show(diagnosis, trace, sys.stderr)

    def _repr_html_(self) -> str:
        from perfscope.ui.html.notebook import notebook_summary

        trace, diagnosis = self.result()
        return notebook_summary(trace, diagnosis)


def notebook() -> Callable[[object], None] | None:
    """How to show something in the notebook that we run in, if we do."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None or getattr(shell, "kernel", None) is None:
        return None
    return getattr(sys.modules.get("IPython.display"), "display", None)
