"""Forks in every way before, during and after an attach, and prints the state of the children."""

import concurrent.futures
import ctypes
import gc
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

import perfscope

LOADER = sys.modules["torch.utils.data.dataloader"]
OPTIMIZER = sys.modules["torch.optim.optimizer"]
KEPT = 200


def state() -> list[Any]:
    """What a child could have been left with: patches, callbacks, threads, sockets and files of
    /proc.
    """
    patched = (
        sys.unraisablehook,
        LOADER._BaseDataLoaderIter.__next__,
        torch.nn.Module.__call__,
        os.fsync,
        vars(torch.autograd)["_engine_run_backward"],
    )
    links = [
        os.readlink(f"/proc/self/fd/{number}")
        for number in os.listdir("/proc/self/fd")
        if opened(number)
    ]
    opened_by_probe = sorted(
        link.partition(":")[0] for link in links if link.startswith(("socket", "/proc/"))
    )
    table = type(vars(OPTIMIZER)["_global_optimizer_post_hooks"]).__name__
    return [
        [repr(function) for function in patched],
        table,
        len(gc.callbacks),
        len(os.listdir("/proc/self/task")),
        opened_by_probe,
    ]


def opened(number: str) -> bool:
    """Whether this is a descriptor that outlives the listing of the folder itself."""
    return os.path.exists(f"/proc/self/fd/{number}")


def masks() -> list[int]:
    """The signals that each thread blocks, as a number of bits."""
    texts = [
        Path(f"/proc/self/task/{thread}/status").read_text()
        for thread in os.listdir("/proc/self/task")
    ]
    return [int(text.partition("SigBlk:")[2].split()[0], 16) for text in texts]


def work() -> None:
    layer = torch.nn.Linear(2, 2)
    layer(torch.ones(2)).sum().backward()
    torch.optim.SGD(layer.parameters(), 0.1).step()
    list(DataLoader([1, 2, 3]))  # type: ignore[arg-type]
    gc.collect()


def said_by_child(fork: Callable[[], int], tell: Callable[[], Any]) -> Any:
    reading, writing = os.pipe()
    child = fork()
    if not child:
        try:
            os.dup2(writing, KEPT)  # one that a daemon leaves open
            os.write(KEPT, json.dumps(tell()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text)


def at_once_and_later() -> list[Any]:
    first = state()
    work()
    return [first, state()]


def later() -> list[Any]:
    work()
    return state()


def daemon_files() -> int:
    """Close everything, open files under the same numbers, work: how many of them are still
    there?
    """
    os.closerange(3, KEPT)
    files = [open(os.devnull) for _ in range(KEPT - 3)]
    work()
    return sum(opened(str(file.fileno())) for file in files)


def become_daemon() -> Any:
    def tell() -> Any:
        os.setsid()
        return daemon_files()

    def fork() -> int:
        child = os.fork()
        if not child and os.fork():
            os.waitpid(-1, 0)
            os._exit(0)
        return child

    return said_by_child(fork, tell)


def of_a_worker(_: int) -> list[Any]:
    return state()[1:3]


def all_ways() -> dict[str, Any]:
    library = ctypes.PyDLL(None)
    found = {
        "fork": said_by_child(os.fork, at_once_and_later),
        "fork of a library": said_by_child(library.fork, later),
        "daemon": become_daemon(),
        "daemon of a library": said_by_child(library.fork, daemon_files),
        "subprocess": subprocess.run(["true"], preexec_fn=work).returncode,
        "loader": len(list(DataLoader(torch.arange(6), num_workers=2))),  # type: ignore[arg-type]
    }
    for method in ("fork", "forkserver"):
        context = multiprocessing.get_context(method)
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            found[f"pool, {method}"] = list(pool.map(of_a_worker, range(3)))
    return found


if __name__ == "__main__":
    work()
    seen = {"before": all_ways()}
    with perfscope.profile(out=sys.argv[1], show=False):
        work()
        seen["in"] = {"patched": state(), "masks": masks()}
        seen["during"] = all_ways()
    seen["after"] = all_ways()
    print(json.dumps(seen))
