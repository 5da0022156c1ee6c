"""`perfscope.profile()`: a context manager or decorator that records a region, and its result."""

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
    """Return a scope to record a region: `with perfscope.profile() as scope:`.

    `@perfscope.profile` or `@perfscope.profile(...)` above a function records its calls.

    out: the run folder to write; without it the recording is discarded unless `scope.save(path)` is
    called. depth: `kernels` takes one short window of torch's profiler, `probe` takes none. A
    process gets one window: its later recordings have neither operators nor kernels. window: the
    length of that window, `steps=5` or `seconds=3`. show: print the diagnosis at the end, on stderr
    or as the output of a notebook's cell; of several ranks only rank 0 prints. Scopes that are open
    at the same time, also in other threads, share one recording; the result of each covers its own
    time. Raises UsageError for an unknown depth or window.
    """
    if depth not in DEPTHS:
        raise UsageError(f"depth {depth!r} is not one of {', '.join(DEPTHS)}")
    asked = window_of(window) if isinstance(window, str) else window
    scope = Scope(Path(out) if out is not None else None, depth, asked, show)
    return scope if function is None else scope(function)


class Scope:
    """A region of the program. While it is open it can be entered again, also by other threads.

    Its result covers the time from the first entry to the last exit.
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
        """Return the function, with each call recorded as a new scope.

        `function.scope` is the scope of the last call. That of a generator is open from the first
        request for a value to the generator's end.
        """
        out, depth, window = self.options

        def new_scope() -> Scope:
            wrapper.scope = Scope(out, depth, window, self.show)
            return wrapper.scope  # type: ignore[no-any-return]

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with new_scope():
                return function(*args, **kwargs)

        @functools.wraps(function)
        async def await_call(*args: Any, **kwargs: Any) -> Any:
            with new_scope():
                return await function(*args, **kwargs)

        @functools.wraps(function)
        def iterate(*args: Any, **kwargs: Any) -> Any:
            with new_scope():
                return (yield from function(*args, **kwargs))

        @functools.wraps(function)
        async def iterate_async(*args: Any, **kwargs: Any) -> Any:
            with new_scope():
                async with aclosing(function(*args, **kwargs)) as values:
                    async for value in values:
                        yield value

        wrapper: Any = call
        if inspect.iscoroutinefunction(function):
            wrapper = await_call
        elif inspect.isgeneratorfunction(function):
            wrapper = iterate
        elif inspect.isasyncgenfunction(function):
            wrapper = iterate_async
        wrapper.scope = self
        return wrapper  # type: ignore[no-any-return]

    # -- while it runs

    def step(self) -> None:
        """Mark the end of a step; needed only where perfscope cannot see the steps."""
        if self.session is not None:
            self.session.mark_step()

    def track(self, loader: Any) -> Any:
        """Return the loader with each wait for a batch recorded.

        PyTorch's DataLoader is returned as it is: its waits are recorded anyway.
        """
        if self.session is None or is_timed_already(loader):
            return loader
        return TrackedLoader(loader, self.session)

    @contextmanager
    def range(self, name: str) -> Iterator[None]:
        """Mark a named part of the program as an NVTX range, which other tools see too."""
        import nvtx

        with nvtx.annotate(name):
            yield

    # -- the result

    def result(self) -> "tuple[Trace, Diagnosis]":
        """Return the trace and the diagnosis of this region.

        While the recording continues, because this or another scope is open, they cover what has
        been written so far: all but the last second. Raises PerfscopeError with the reason where
        nothing was recorded.
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
        """The diagnosis of this region: the object that `--json` prints."""
        return self.result()[1]

    def save(self, path: "str | os.PathLike[str]") -> Path:
        """Copy the run folder to `path`, which must not exist, and return it.

        `perfscope report`, `ui` and `analyze` open it.
        """
        import shutil

        self.result()
        assert self.session is not None
        if os.path.lexists(path):
            raise PerfscopeError(f"{os.fspath(path)} exists: name another folder, or remove it")
        return Path(shutil.copytree(self.session.out, path))

    def report(self, path: "str | os.PathLike[str]") -> Path:
        """Write the HTML report, one file that works offline, and return its path."""
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
        display = notebook_display()
        if display is not None:
            display(self)
            return
        from perfscope.ui.terminal.diagnosis_view import show

        show(diagnosis, trace, sys.stderr)

    def _repr_html_(self) -> str:
        from perfscope.ui.html.notebook import notebook_summary

        trace, diagnosis = self.result()
        return notebook_summary(trace, diagnosis)


def notebook_display() -> Callable[[object], None] | None:
    """Return IPython's function that displays an object; None outside of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None or getattr(shell, "kernel", None) is None:
        return None
    return getattr(sys.modules.get("IPython.display"), "display", None)
