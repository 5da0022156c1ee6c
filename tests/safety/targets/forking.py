"""Forks in every way before, during and after a recording; prints the state of the children."""

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
    """Return what perfscope could have left in a child: patches, callbacks, threads, sockets and
    files of /proc.
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
    """Return whether the descriptor is open, which that of the listing of the folder is not."""
    return os.path.exists(f"/proc/self/fd/{number}")


def masks() -> list[int]:
    """Return the signals that each thread blocks, as bits of a number."""
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


def result_of_child(fork: Callable[[], int], function: Callable[[], Any]) -> Any:
    """Fork a child, and return what `function` returns in it."""
    reading, writing = os.pipe()
    child = fork()
    if not child:
        try:
            os.dup2(writing, KEPT)  # a descriptor that a daemon does not close
            os.write(KEPT, json.dumps(function()).encode())
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
    """Close everything, open files under the same numbers and work; return how many files are
    open then.
    """
    os.closerange(3, KEPT)
    files = [open(os.devnull) for _ in range(KEPT - 3)]
    work()
    return sum(opened(str(file.fileno())) for file in files)


def become_daemon() -> Any:
    def run_daemon() -> Any:
        os.setsid()
        return daemon_files()

    def fork() -> int:
        child = os.fork()
        if not child and os.fork():
            os.waitpid(-1, 0)
            os._exit(0)
        return child

    return result_of_child(fork, run_daemon)


def of_a_worker(_: int) -> list[Any]:
    return state()[1:3]


def all_ways() -> dict[str, Any]:
    library = ctypes.PyDLL(None)
    found = {
        "fork": result_of_child(os.fork, at_once_and_later),
        "fork of a library": result_of_child(library.fork, later),
        "daemon": become_daemon(),
        "daemon of a library": result_of_child(library.fork, daemon_files),
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
