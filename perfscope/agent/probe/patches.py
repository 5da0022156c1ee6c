"""Functions of ours put in the place of the program's: how they are made, put in, told apart and
taken out again.

A patch is known by the identity of its wrapper, never by an attribute: `functools.wraps` copies
those and proxies pass them on. One that somebody has patched over since cannot be taken out: it
stays, passes its calls on, and is looked at again until it stands in its place once more, by our
own thread while we are in and by the wrapper itself after that.
"""

from operator import itemgetter
from types import MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.core import Probe

ABSENT = object()


class Patch:
    """`now` stands at `owner.name` in the place of `was`, which is ABSENT where the owner only
    inherits one.
    """

    __slots__ = ("name", "now", "owner", "was")

    def __init__(self, owner: Any, name: str, now: Any) -> None:
        self.owner, self.name, self.now = owner, name, now
        self.was = vars(owner).get(name, ABSENT)

    def here(self) -> Any:
        """What stands there at this moment."""
        return vars(self.owner).get(self.name, ABSENT)

    def undo(self) -> bool:
        """Put back what was there; False where something else than ours stands there now."""
        if self.here() is not self.now:
            return self.here() is self.was
        if self.was is ABSENT:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, self.was)
        return True

    def __str__(self) -> str:
        return f"{getattr(self.owner, '__name__', self.owner)}.{self.name}"


class Patches:
    """All patches of one visit. Any thread may take some back: whoever takes one out of the table
    undoes it.
    """

    def __init__(self) -> None:
        self.placed: dict[int, Patch] = {}
        self.stuck: list[Patch] = []

    def put(self, owner: Any, name: str, wrapper: Any) -> "Patch | None":
        """Put `wrapper` at `owner.name`; None where that cannot be set."""
        patch = Patch(owner, name, wrapper)
        try:
            setattr(owner, name, wrapper)
        except (AttributeError, TypeError):
            return None
        self.placed[id(patch)] = patch
        return patch

    def take_back(self, patch: Patch) -> None:
        """Undo one; harmless when it was undone before."""
        if self.placed.pop(id(patch), None) is not None and not patch.undo():
            self.stuck.append(patch)

    def take_back_all(self) -> None:
        """Undo all that are placed, last first."""
        for patch in reversed(tuple(self.placed.values())):
            self.take_back(patch)
        self.try_again()

    def try_again(self) -> None:
        """Undo those of which ours stands in its place again."""
        for patch in tuple(self.stuck):
            if patch.undo():
                self.stuck.remove(patch)


class Replaced:
    """Stands for what may be pickled as what it is: a method in a class of the program's own, a
    function of the interpreter.

    It is called and looked up like a function, and pickled it is the original.
    """

    def __init__(self, call: "Callable[..., Any]", original: Any) -> None:
        self.call, self.original = call, original
        named_as(self, original)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self.call, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "original"), name)

    def __reduce__(self) -> Any:
        return itemgetter(0), ((self.original,),)


def around(
    probe: "Probe",
    original: "Callable[..., Any]",
    begin: "Callable[..., Any]",
    end: "Callable[..., None]",
) -> "Callable[..., Any]":
    """Return a function that does what `original` does and has its name.

    Before it `begin(args, kwargs)` is called; unless it returns None, `end(begun, args, answer,
    raised)` is called behind it, where `raised` is the class of the exception that the call ended
    with, or None. Both are guarded; once the probe is gone neither is called.
    """
    live, outlived = probe.live, probe.outlived
    first, last = probe.guard.together(name_of(original), begin, end)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not live[0]:
            outlived(wrapper)
            return original(*args, **kwargs)
        begun = first(args, kwargs)
        if begun is None:
            return original(*args, **kwargs)
        answer = raised = None
        try:
            answer = original(*args, **kwargs)
            return answer
        except BaseException as error:
            raised = type(
                error
            )  # the exception itself would keep this frame, and all that the call held, alive
            raise
        finally:
            last(begun, args, answer, raised)

    named_as(wrapper, original)
    return wrapper


def named_as(wrapper: Any, original: Any) -> None:
    """Give `wrapper` what a reader, a pickler or `inspect` asks a function for; not its dictionary,
    which is the program's.
    """
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        value = getattr(original, name, None)
        if value is None or type(value) is str:
            setattr(wrapper, name, value)
    wrapper.__wrapped__ = original


def name_of(function: Any) -> str:
    """Return the name by which a function is told of."""
    return f"{getattr(function, '__module__', None)}.{getattr(function, '__qualname__', type(function).__name__)}"  # noqa: E501
