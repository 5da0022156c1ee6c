"""The one place inside the target where what our own code raises is caught: counted, told, and that
code is not called again.

What the program raises passes: KeyboardInterrupt, and what a signal handler of the program, or
another of its threads (PyThreadState_SetAsyncExc), raises while code of ours happens to run in its
thread.
"""

import signal
from _thread import get_ident
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

OWN_FILE = "<perfscope "


def nothing(*_: Any) -> None:
    """Stands for a function of ours that has failed, or where nothing is to be done."""


class Guard:
    """`tell` is given a note for each function that failed."""

    def __init__(self, tell: "Callable[[dict[str, Any]], None]") -> None:
        self.tell = tell
        self.own_thread = 0
        """On our own thread nothing of the program's runs, so all that is raised there is ours."""

    def one(self, name: str, function: "Callable[..., Any]") -> "Callable[..., Any]":
        """Return `function` made safe to call in a thread of the program's: None when it failed,
        now or before.
        """
        return self.together(name, function)[0]

    def together(self, name: str, *functions: "Callable[..., Any]") -> "list[Callable[..., Any]]":
        """Return functions that belong together, made safe: when one of them fails none of them is
        called again.
        """
        called = list(functions)

        def safe(place: int) -> "Callable[..., Any]":
            def call(*arguments: Any) -> Any:
                try:
                    return called[place](*arguments)
                except Exception as raised:
                    if get_ident() != self.own_thread and from_the_program(raised):
                        raise
                    called[:] = [nothing] * len(called)
                    self.report(name, raised)
                    return None

            return call

        return [safe(place) for place in range(len(functions))]

    def report(self, name: str, raised: Exception) -> None:
        """Report a failure by the class of its exception: the text could hold something of the
        program's.
        """
        self.tell({"failed": name, "error": type(raised).__name__})


class Guarded(list):  # type: ignore[type-arg]
    """Functions of ours that are called one after the other; each is guarded by itself from when it
    is added.
    """

    def __init__(self, guard: Guard, name: str) -> None:
        super().__init__()
        self.guard, self.name = guard, name

    def append(self, function: "Callable[..., Any]") -> None:
        super().append(self.guard.one(self.name, function))


def from_the_program(raised: BaseException) -> bool:
    """Whether it was not our code that raised this, nor what our code called, but the program
    itself in the middle of it.
    """
    handlers = codes_of_handlers()
    step = raised.__traceback__
    while step is not None:
        last = step.tb_frame.f_code
        if last in handlers:
            return True
        step = step.tb_next
    here = raised.__traceback__ is None or last.co_filename.startswith(OWN_FILE)
    # what our code can raise by itself are the interpreter's own exceptions, and it waits for
    # nothing
    return here and (type(raised).__module__ != "builtins" or type(raised) is TimeoutError)


def codes_of_handlers() -> "set[CodeType]":
    """Return the code of every signal handler written in Python."""
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    codes = [code_of(one) for one in handlers if callable(one)]
    return {one for one in codes if one is not None}


def code_of(handler: Any) -> "CodeType | None":
    """Return the code that runs when `handler` is called: of a function, a method, a partial or an
    object with __call__.
    """
    for _ in range(8):
        code = getattr(handler, "__code__", None)
        if code is not None:
            return code  # type: ignore[no-any-return]
        inner = getattr(handler, "__func__", None) or getattr(handler, "func", None)
        handler = inner if inner is not None else getattr(type(handler), "__call__", None)  # noqa: B004
    return None
