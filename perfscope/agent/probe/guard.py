"""The only place in the target that catches exceptions of the probe.

A function of the probe that fails is reported and not called again. Exceptions of the program pass:
KeyboardInterrupt, and what a signal handler or another thread (PyThreadState_SetAsyncExc) raises
while code of the probe runs in that thread.
"""

import signal
from _thread import get_ident
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

OWN_FILE = "<perfscope "
MOST_NESTED_CALLABLES = 8


def nothing(*_: Any) -> None:
    """Do nothing, in the place of a function that has failed or is not needed."""


class Guard:
    """Makes functions of the probe safe to call; `send_note` reports each that fails."""

    def __init__(self, send_note: "Callable[[dict[str, Any]], None]") -> None:
        self.send_note = send_note
        # No code of the program runs on the probe's own thread, so every exception there is ours.
        self.own_thread = 0

    def guarded(self, name: str, function: "Callable[..., Any]") -> "Callable[..., Any]":
        """Return `function` made safe: once it has failed, it does nothing and returns None."""
        return self.guarded_together(name, function)[0]

    def guarded_together(
        self, name: str, *functions: "Callable[..., Any]"
    ) -> "list[Callable[..., Any]]":
        """Return the functions made safe: once one has failed, none of them is called again."""
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
        """Report the class of an exception; its text could contain data of the program."""
        self.send_note({"note": "failed", "name": name, "error": type(raised).__name__})


class GuardedList(list):  # type: ignore[type-arg]
    """Functions of the probe that are called one after another; `append` guards each."""

    def __init__(self, guard: Guard, name: str) -> None:
        super().__init__()
        self.guard, self.name = guard, name

    def append(self, function: "Callable[..., Any]") -> None:
        super().append(self.guard.guarded(self.name, function))


def from_the_program(raised: BaseException) -> bool:
    """Return whether the program raised this exception, and not the probe or what it called."""
    handlers = codes_of_handlers()
    step = raised.__traceback__
    while step is not None:
        last = step.tb_frame.f_code
        if last in handlers:
            return True
        step = step.tb_next
    in_probe = raised.__traceback__ is None or last.co_filename.startswith(OWN_FILE)
    # The probe's own code raises only exceptions of the interpreter, and never times out. Any other
    # exception that begins in it was injected.
    is_foreign = type(raised).__module__ != "builtins" or type(raised) is TimeoutError
    return in_probe and is_foreign


def codes_of_handlers() -> "set[CodeType]":
    """Return the code of every signal handler written in Python."""
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    codes = [code_of(handler) for handler in handlers if callable(handler)]
    return {code for code in codes if code is not None}


def code_of(handler: Any) -> "CodeType | None":
    """Return the code that a call of `handler` runs.

    `handler` is a function, a method, a partial, or an object with __call__.
    """
    for _ in range(MOST_NESTED_CALLABLES):
        code = getattr(handler, "__code__", None)
        if code is not None:
            return code  # type: ignore[no-any-return]
        inner = getattr(handler, "__func__", None) or getattr(handler, "func", None)
        if inner is None:
            inner = getattr(type(handler), "__call__", None)  # noqa: B004
        handler = inner
    return None
