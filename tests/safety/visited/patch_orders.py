"""Patches of others over and under ours, put in and taken out in every order, by every means that
libraries use.
"""

import functools
import gc
import json
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import cloudpickle  # type: ignore[import-untyped]
import torch
import wrapt
from torch.utils.data import DataLoader

import perfscope

OPTIMIZER = sys.modules["torch.optim.optimizer"]
TARGETS: list[tuple[Any, str]] = [
    (sys.modules["torch.utils.data.dataloader"]._BaseDataLoaderIter, "__next__"),
    (DataLoader, "__iter__"),
    (torch.nn.Module, "__call__"),
    (torch.serialization, "_open_zipfile_writer"),
    (torch.autograd, "_engine_run_backward"),
    (os, "fsync"),
    (sys, "unraisablehook"),
]
ORIGINALS = [vars(owner)[name] for owner, name in TARGETS]


class Own(torch.nn.Module):
    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return given + 1


class OwnCall(torch.nn.Module):
    def __call__(self, given: torch.Tensor) -> Any:
        return super().__call__(given) * 2

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return given + 1


OWN_CALL = vars(OwnCall)["__call__"]


class Fails:
    def __del__(self) -> None:
        raise ZeroDivisionError


def work() -> list[Any]:
    """Call everything that is patched."""
    weight = torch.ones(2, requires_grad=True)
    (weight * weight).sum().backward()
    torch.optim.SGD([weight], 0.1).step()
    with open(os.devnull, "w") as nowhere:
        torch.save(weight, FOLDER / "weight.pt")
        with (FOLDER / "weight.pt").open("rb") as file:
            os.fsync(file.fileno())
        sys.stderr, kept = nowhere, sys.stderr
        Fails()
        sys.stderr = kept
    gc.collect()
    called = [module(torch.ones(1)).item() for module in (Own(), OwnCall())]
    return [*called, weight.tolist(), len(list(DataLoader([1, 2, 3])))]  # type: ignore[arg-type]


@contextmanager
def visit(name: str) -> Iterator[None]:
    with perfscope.profile(out=FOLDER / name, depth="probe", show=False):
        work()
        yield
        work()


def left() -> list[str]:
    """Return the targets whose original is not in place."""
    return [
        name
        for (owner, name), original in zip(TARGETS, ORIGINALS, strict=True)
        if vars(owner)[name] is not original
    ]


def over(function: Any) -> Callable[..., Any]:
    """Wrap as most libraries do: functools.wraps copies the attributes, too."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def wrap_all() -> list[Any]:
    for owner, name in TARGETS:
        setattr(owner, name, over(vars(owner)[name]))
    return [vars(owner)[name] for owner, name in TARGETS]


def put(functions: list[Any]) -> None:
    for (owner, name), function in zip(TARGETS, functions, strict=True):
        setattr(owner, name, function)


def wrapped_while_in_unwrapped_later() -> dict[str, Any]:
    with visit("wrapped"):
        ours = [vars(owner)[name] for owner, name in TARGETS]
        theirs = wrap_all()
        patched = [one is not original for one, original in zip(ours, ORIGINALS, strict=True)]
    stay = [vars(owner)[name] is one for (owner, name), one in zip(TARGETS, theirs, strict=True)]
    works = work()
    put(ours)  # they take theirs out and put back what they found, which is ours
    work()
    return {"patched": sum(patched), "stay": all(stay), "works": works, "left": left()}


def wrapped_before_unwrapped_while_in() -> dict[str, Any]:
    theirs = wrap_all()
    with visit("before"):
        put(ORIGINALS)
    return {"left": left(), "theirs": len(theirs)}


def mocked_and_traced() -> dict[str, Any]:
    with visit("mocked"):
        for owner, name in TARGETS:
            with mock.patch.object(owner, name, lambda *_, **__: None):
                pass
        graph = torch.fx.symbolic_trace(torch.nn.Sequential(Own(), torch.nn.Linear(1, 1))).graph
        nodes = [node.op for node in graph.nodes]
    return {"left": left(), "nodes": nodes}


def proxied() -> dict[str, Any]:
    """wrapt's proxies pass attributes on in both directions."""
    with visit("proxied"):
        for owner, name in TARGETS:
            wrapt.wrap_function_wrapper(
                owner, name, lambda wrapped, _, args, kwargs: wrapped(*args, **kwargs)
            )
    stay = [type(vars(owner)[name]).__name__ == "FunctionWrapper" for owner, name in TARGETS]
    put([vars(owner)[name].__wrapped__ for owner, name in TARGETS])
    work()
    return {"stay": all(stay), "left": left()}


def hooks_of_theirs() -> dict[str, Any]:
    """A global optimizer hook registered while we are in is removed after we left."""
    calls: list[int] = []
    with visit("hooks"):
        handle = vars(OPTIMIZER)["register_optimizer_step_post_hook"](lambda *_: calls.append(1))
        table = vars(OPTIMIZER)["_global_optimizer_post_hooks"]
        seen = [len(table), list(table), len(list(table.items()))]
        work()
    work()
    heard = len(calls)
    handle.remove()
    work()
    return {"heard": heard, "later": len(calls), "seen": [seen[0], len(seen[1]), seen[2]]}


def pickled() -> dict[str, Any]:
    """Pickle what a pool of processes, Ray or a notebook pickles."""
    functions = (torch.save, torch.autograd.backward, os.fsync, DataLoader, torch.optim.SGD)
    with visit("pickled"):
        time.sleep(3.5)  # by then the root classes are patched
        work()
        names = [pickle.loads(pickle.dumps(one)).__name__ for one in functions]
        blob = cloudpickle.dumps((Own(), OwnCall()))
        same = [
            all(getattr(vars(owner)[name], key) == getattr(original, key) for key in KEYS)
            for (owner, name), original in zip(TARGETS, ORIGINALS, strict=True)
        ]
        timed = ["__call__" in vars(Own), vars(OwnCall)["__call__"] is not OWN_CALL]
    own = ["__call__" in vars(Own), vars(OwnCall)["__call__"] is OWN_CALL]
    loaded = [module(torch.ones(1)).item() for module in cloudpickle.loads(blob)]
    return {"names": names, "same": all(same), "timed": timed, "own": own, "loaded": loaded}


KEYS = ("__name__", "__qualname__", "__module__", "__doc__")


def callbacks() -> dict[str, Any]:
    """A collector's callback of theirs behind ours is never skipped, and the list does not grow
    with our visits.
    """
    phases: list[str] = []
    lengths = []
    for number in range(2):
        with visit(f"callbacks{number}"):
            if not number:
                gc.callbacks.append(lambda phase, _: phases.append(phase))
            lengths.append(len(gc.callbacks))
        lengths.append(len(gc.callbacks))
    gc.callbacks.pop()
    with visit("callbacks"):
        pass
    return {
        "paired": phases.count("start") == phases.count("stop") > 0,
        "lengths": [*lengths, len(gc.callbacks)],
    }


if __name__ == "__main__":
    FOLDER = Path(sys.argv[1])
    said = {"works": work()}
    for case in (
        wrapped_while_in_unwrapped_later,
        wrapped_before_unwrapped_while_in,
        mocked_and_traced,
        proxied,
        hooks_of_theirs,
        callbacks,
        pickled,
    ):
        said[case.__name__] = case()  # type: ignore[assignment]
    print(json.dumps(said))
