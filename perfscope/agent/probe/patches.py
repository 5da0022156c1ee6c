"""Replacing functions of the program by wrappers, and putting the originals back.

A patch is recognized by the identity of its wrapper, never by an attribute: `functools.wraps`
copies attributes, and proxies forward them. If somebody has patched over a wrapper, it cannot be
removed yet. It then only forwards its calls, and is removed as soon as it is in its place again:
by the probe's thread while the probe is installed, by the wrapper itself afterwards.
"""

from operator import itemgetter
from types import MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.core import InstalledProbe

ABSENT = object()


class Patch:
    """The wrapper at `owner.name`.

    `original` is what it replaced, ABSENT if the owner only inherited that name.
    """

    __slots__ = ("name", "original", "owner", "wrapper")

    def __init__(self, owner: Any, name: str, wrapper: Any) -> None:
        self.owner, self.name, self.wrapper = owner, name, wrapper
        self.original = vars(owner).get(name, ABSENT)

    def current(self) -> Any:
        """Return what is at `owner.name` now."""
        return vars(self.owner).get(self.name, ABSENT)

    def undo(self) -> bool:
        """Put the original back; return False if something else than our wrapper is there now."""
        if self.current() is not self.wrapper:
            return self.current() is self.original
        if self.original is ABSENT:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, self.original)
        return True

    def __str__(self) -> str:
        return f"{getattr(self.owner, '__name__', self.owner)}.{self.name}"


class Patches:
    """All patches of one probe.

    Any thread may remove one: the thread that takes it out of the table undoes it.
    """

    def __init__(self) -> None:
        self.placed: dict[int, Patch] = {}
        self.stuck: list[Patch] = []

    def put(self, owner: Any, name: str, wrapper: Any) -> "Patch | None":
        """Put `wrapper` at `owner.name`; return None if that attribute cannot be set."""
        patch = Patch(owner, name, wrapper)
        try:
            setattr(owner, name, wrapper)
        except (AttributeError, TypeError):
            return None
        self.placed[id(patch)] = patch
        return patch

    def remove(self, patch: Patch) -> None:
        """Remove a patch; do nothing if it was removed before."""
        if self.placed.pop(id(patch), None) is not None and not patch.undo():
            self.stuck.append(patch)

    def remove_all(self) -> None:
        """Remove all patches, the last one first."""
        for patch in reversed(tuple(self.placed.values())):
            self.remove(patch)
        self.retry_stuck()

    def retry_stuck(self) -> None:
        """Remove the stuck patches whose wrapper is in its place again."""
        for patch in tuple(self.stuck):
            if patch.undo():
                self.stuck.remove(patch)


class PicklableWrapper:
    """A wrapper that is pickled as its original.

    It is called and looked up like a function. It is for what a program may pickle: a method of its
    own class, or a function of the interpreter.
    """

    def __init__(self, call: "Callable[..., Any]", original: Any) -> None:
        self.call, self.original = call, original
        copy_function_names(self, original)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self.call, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "original"), name)

    def __reduce__(self) -> Any:
        return itemgetter(0), ((self.original,),)


def wrap(
    probe: "InstalledProbe",
    original: "Callable[..., Any]",
    begin: "Callable[..., Any]",
    end: "Callable[..., None]",
) -> "Callable[..., Any]":
    """Return a function that does what `original` does, under the same name.

    Before each call it calls `begin(args, kwargs)`. Unless that returns None, it calls `end(begun,
    args, answer, raised)` afterwards: `begun` is the result of `begin`, `raised` the class of the
    exception that ended the call, or None. Both are guarded, and neither is called once the probe
    has left.
    """
    live, clean_up = probe.live, probe.clean_up
    first, last = probe.guard.guarded_together(full_name(original), begin, end)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not live[0]:
            clean_up(wrapper)
            return original(*args, **kwargs)
        begun = first(args, kwargs)
        if begun is None:
            return original(*args, **kwargs)
        answer = raised = None
        try:
            answer = original(*args, **kwargs)
            return answer
        except BaseException as error:
            # Only the class: the exception would keep this frame alive, and all it refers to.
            raised = type(error)
            raise
        finally:
            last(begun, args, answer, raised)

    copy_function_names(wrapper, original)
    return wrapper


def wrap_coroutine_function(
    probe: "InstalledProbe",
    original: "Callable[..., Any]",
    begin: "Callable[..., Any]",
    end: "Callable[..., None]",
) -> "Callable[..., Any]":
    """Return a coroutine function that does what `original` does, like `InstalledProbe.wrap`.

    `begin` is called with the call, `end` when the coroutine ends. One that is never awaited has no
    end.
    """
    live, clean_up = probe.live, probe.clean_up
    first, last = probe.guard.guarded_together(full_name(original), begin, end)

    async def followed(begun: Any, args: Any, kwargs: Any) -> Any:
        answer = raised = None
        try:
            answer = await original(*args, **kwargs)
            return answer
        except BaseException as error:
            raised = type(error)
            raise
        finally:
            if live[0]:
                last(begun, args, answer, raised)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not live[0]:
            clean_up(wrapper)
            return original(*args, **kwargs)
        begun = first(args, kwargs)
        if begun is None:
            return original(*args, **kwargs)
        return followed(begun, args, kwargs)

    copy_function_names(wrapper, original)
    return wrapper


def copy_function_names(wrapper: Any, original: Any) -> None:
    """Give `wrapper` the names, the docstring and the signature of `original`.

    `__dict__` is not copied: it belongs to the program.
    """
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        value = getattr(original, name, None)
        if value is None or type(value) is str:
            setattr(wrapper, name, value)
    wrapper.__wrapped__ = original


def full_name(function: Any) -> str:
    """Return the name of a function with its module, for reports."""
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", type(function).__name__)
    return f"{module}.{name}"
