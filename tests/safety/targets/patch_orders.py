"""Patches of other libraries over and under those of perfscope, set and removed in every order, by
every method that libraries use.
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


class PlusOne(torch.nn.Module):
    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return given + 1


class DoublingCall(torch.nn.Module):
    def __call__(self, given: torch.Tensor) -> Any:
        return super().__call__(given) * 2

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return given + 1


DOUBLING_CALL = vars(DoublingCall)["__call__"]


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
    called = [module(torch.ones(1)).item() for module in (PlusOne(), DoublingCall())]
    return [*called, weight.tolist(), len(list(DataLoader([1, 2, 3])))]  # type: ignore[arg-type]


@contextmanager
def recording(name: str) -> Iterator[None]:
    """Record this process, and call everything that is patched at the begin and at the end."""
    with perfscope.profile(out=FOLDER / name, depth="probe", show=False):
        work()
        yield
        work()


def not_restored() -> list[str]:
    """Return the targets whose original is not in place."""
    return [
        name
        for (owner, name), original in zip(TARGETS, ORIGINALS, strict=True)
        if vars(owner)[name] is not original
    ]


def wrap(function: Any) -> Callable[..., Any]:
    """Wrap as most libraries do; functools.wraps copies the attributes, too."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def wrap_all() -> list[Any]:
    """Wrap the function of each target; return the wrappers."""
    for owner, name in TARGETS:
        setattr(owner, name, wrap(vars(owner)[name]))
    return current()


def current() -> list[Any]:
    """Return the function of each target."""
    return [vars(owner)[name] for owner, name in TARGETS]


def put(functions: list[Any]) -> None:
    """Set the function of each target."""
    for (owner, name), function in zip(TARGETS, functions, strict=True):
        setattr(owner, name, function)


def wrapped_while_recording_unwrapped_later() -> dict[str, Any]:
    with recording("wrapped"):
        patches = current()
        wrappers = wrap_all()
        patched = [
            patch is not original for patch, original in zip(patches, ORIGINALS, strict=True)
        ]
    kept = current() == wrappers
    works = work()
    put(patches)  # the library restores what it found, which are the patches of perfscope
    work()
    return {"patched": sum(patched), "kept": kept, "works": works, "left": not_restored()}


def wrapped_before_unwrapped_while_recording() -> dict[str, Any]:
    wrap_all()
    with recording("before"):
        put(ORIGINALS)
    return {"left": not_restored()}


def mocked_and_traced() -> dict[str, Any]:
    with recording("mocked"):
        for owner, name in TARGETS:
            with mock.patch.object(owner, name, lambda *_, **__: None):
                pass
        graph = torch.fx.symbolic_trace(torch.nn.Sequential(PlusOne(), torch.nn.Linear(1, 1))).graph
        nodes = [node.op for node in graph.nodes]
    return {"left": not_restored(), "nodes": nodes}


def proxied() -> dict[str, Any]:
    """wrapt's proxies pass attributes on in both directions."""
    with recording("proxied"):
        for owner, name in TARGETS:
            wrapt.wrap_function_wrapper(
                owner, name, lambda wrapped, _, args, kwargs: wrapped(*args, **kwargs)
            )
    proxies = current()
    kept = [type(proxy).__name__ == "FunctionWrapper" for proxy in proxies]
    put([proxy.__wrapped__ for proxy in proxies])
    work()
    return {"kept": all(kept), "left": not_restored()}


def global_optimizer_hook() -> dict[str, Any]:
    """A global optimizer hook is registered during a recording and removed after it."""
    calls: list[int] = []
    with recording("hooks"):
        handle = vars(OPTIMIZER)["register_optimizer_step_post_hook"](lambda *_: calls.append(1))
        table = vars(OPTIMIZER)["_global_optimizer_post_hooks"]
        seen = [len(table), list(table), len(list(table.items()))]
        work()
    work()
    called = len(calls)
    handle.remove()
    work()
    return {"called": called, "later": len(calls), "seen": [seen[0], len(seen[1]), seen[2]]}


def pickled() -> dict[str, Any]:
    """Pickle what a pool of processes, Ray or a notebook pickles."""
    functions = (torch.save, torch.autograd.backward, os.fsync, DataLoader, torch.optim.SGD)
    with recording("pickled"):
        time.sleep(3.5)  # by then the classes of modules are patched
        work()
        names = [pickle.loads(pickle.dumps(function)).__name__ for function in functions]
        blob = cloudpickle.dumps((PlusOne(), DoublingCall()))
        same = [
            all(getattr(vars(owner)[name], key) == getattr(original, key) for key in KEYS)
            for (owner, name), original in zip(TARGETS, ORIGINALS, strict=True)
        ]
        timed = ["__call__" in vars(PlusOne), vars(DoublingCall)["__call__"] is not DOUBLING_CALL]
    restored = ["__call__" not in vars(PlusOne), vars(DoublingCall)["__call__"] is DOUBLING_CALL]
    loaded = [module(torch.ones(1)).item() for module in cloudpickle.loads(blob)]
    return {
        "names": names,
        "same": all(same),
        "timed": timed,
        "restored": restored,
        "loaded": loaded,
    }


KEYS = ("__name__", "__qualname__", "__module__", "__doc__")


def callbacks() -> dict[str, Any]:
    """A callback after that of the probe is never skipped, and the list does not grow with the
    number of recordings.
    """
    phases: list[str] = []
    lengths = []
    for number in range(2):
        with recording(f"callbacks{number}"):
            if not number:
                gc.callbacks.append(lambda phase, _: phases.append(phase))
            lengths.append(len(gc.callbacks))
        lengths.append(len(gc.callbacks))
    gc.callbacks.pop()
    with recording("callbacks"):
        pass
    return {
        "paired": phases.count("start") == phases.count("stop") > 0,
        "lengths": [*lengths, len(gc.callbacks)],
    }


if __name__ == "__main__":
    FOLDER = Path(sys.argv[1])
    results: dict[str, Any] = {"works": work()}
    for case in (
        wrapped_while_recording_unwrapped_later,
        wrapped_before_unwrapped_while_recording,
        mocked_and_traced,
        proxied,
        global_optimizer_hook,
        callbacks,
        pickled,
    ):
        results[case.__name__] = case()
    print(json.dumps(results))
