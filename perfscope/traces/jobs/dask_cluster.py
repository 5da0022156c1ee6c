"""Where the members of a job are read side by side: the workers of a Dask cluster that is already
there (`[dask]`).
"""

import ipaddress
import os
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from perfscope import __version__
from perfscope.errors import PerfscopeError, UsageError

CONNECT_S = 10


@contextmanager
def dask_cluster(
    address: str, paths: Sequence[Path], *, insecure: bool = False
) -> Iterator[Executor]:
    """The cluster's own Executor, once every worker is known to run this version and to see the
    same files.

    Raises UsageError, PerfscopeError with what to do. Nothing is sent over plain tcp to another
    machine unless `insecure`.
    """
    checked(address, insecure)
    try:
        import distributed as dask
    except ImportError:
        raise UsageError("--dask needs distributed: pip install 'perfscope-ml[dask]'") from None
    try:
        client = connected(dask.Client, address)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"no Dask scheduler answers at {address} ({said(error)}); start one or correct --dask"
        ) from None
    with client:
        seen_alike(client, paths)
        try:
            with client.get_executor(pure=False) as executor:
                yield executor
        except (dask.KilledWorker, dask.client.FutureCancelledError) as error:
            raise PerfscopeError(
                f"the Dask cluster gave up ({said(error)}); look at its workers' logs"
            ) from None


def connected(client: Any, address: str) -> Any:
    """A client of the cluster that is no other code's default."""
    return client(address, timeout=CONNECT_S, set_as_default=False)


def checked(address: str, insecure: bool) -> None:
    """Raises UsageError for what is no address, and for plain tcp to another machine."""
    try:
        parts = urlsplit(address if "://" in address else f"tcp://{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port is None:
        raise UsageError(
            "--dask wants the scheduler's address, tcp://HOST:PORT or tls://HOST:PORT, not"
            f" {address}"
        )
    if parts.scheme not in ("tls", "wss") and not insecure and not is_here(host):
        raise UsageError(
            f"{address} is another machine over {parts.scheme} without encryption: use tls://, or"
            " --insecure on a network that you trust"
        )


def is_here(host: str) -> bool:
    """Is it this machine's loopback?"""
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
        return bool(found) and all(
            ipaddress.ip_address(str(one).split("%")[0]).is_loopback for one in found
        )
    except (OSError, ValueError):
        return False


def seen_alike(client: Any, paths: Sequence[Path]) -> None:
    """Raises UsageError unless every worker has this version of perfscope and sees each file as it
    is here.
    """
    here = {str(path.resolve()): size_and_time(str(path.resolve())) for path in paths}
    answers = client.run(worker_view, list(here), on_error="return")
    if not answers:
        raise UsageError("the Dask cluster has no worker: start one with `dask worker`")
    for worker, answer in answers.items():
        if isinstance(answer, BaseException):
            raise UsageError(
                f"Dask worker {worker} cannot run perfscope ({said(answer)}): install perfscope-ml"
                f" {__version__}"
            )
        version, files = answer
        if version != __version__:
            raise UsageError(
                f"Dask worker {worker} has perfscope-ml {version}, here is {__version__}: install"
                " the same"
            )
        for path, own in here.items():
            if files.get(path) != own:
                how = "does not see" if files.get(path) is None else "has another file at"
                raise UsageError(
                    f"Dask worker {worker} {how} {path}: put the traces on a file system that all"
                    " share"
                )


def worker_view(paths: list[str]) -> tuple[str, dict[str, tuple[int, int] | None]]:
    """Runs on a worker: its version and what it sees at these paths."""
    return __version__, {path: size_and_time(path) for path in paths}


def size_and_time(path: str) -> tuple[int, int] | None:
    """Bytes and time of the last change; None where nothing is to be seen."""
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_size, info.st_mtime_ns


def said(error: BaseException) -> str:
    """The first line of an error."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__
