"""Reads the members of a job on the workers of an existing Dask cluster (extra `dask`)."""

import ipaddress
import os
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from perfscope import __version__
from perfscope.errors import PerfscopeError, UsageError

CONNECT_S = 10
ANSWER_S = 60
"""How long a worker may take to import perfscope and to look at the files."""
TCP_LISTENS = "0A"
"""The state in /proc/net/tcp of a socket that accepts connections."""
ENCRYPTED_SCHEMES = ("tls", "wss")
FileState = tuple[int, int]
"""(bytes, nanoseconds of the last change) of a file."""


@contextmanager
def dask_cluster(
    address: str, paths: Sequence[Path], *, insecure: bool = False
) -> Iterator[Executor]:
    """Yield the cluster's Executor, after checking that every worker runs this version of
    perfscope and sees the same files.

    Raises UsageError, PerfscopeError. Nothing is sent to another machine without encryption unless
    `insecure`.
    """
    check_address(address, insecure)
    try:
        import distributed as dask
    except ImportError:
        raise UsageError(
            "--dask needs the package distributed. Run `pip install 'perfscope-ml[dask]'`."
        ) from None
    try:
        client = connected_client(dask.Client, address)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"no Dask scheduler answers at {address} ({first_line(error)}). Start one, or correct"
            " the address after --dask."
        ) from None
    with client:
        require_same_view(client, paths)
        try:
            with client.get_executor(pure=False) as executor:
                yield executor
        except (dask.KilledWorker, dask.client.FutureCancelledError) as error:
            raise PerfscopeError(
                f"the Dask cluster stopped reading ({first_line(error)}). See the logs of its"
                " workers."
            ) from None


def connected_client(client_class: Any, address: str) -> Any:
    """Return a client of the cluster that does not become the default of other code."""
    return client_class(address, timeout=CONNECT_S, set_as_default=False)


def check_address(address: str, insecure: bool) -> None:
    """Raise UsageError for an invalid address, and for an unencrypted one of another machine or of
    another user of this machine: a scheduler sends pickles, which can run any code.

    So does an address where nothing listens: while a client tries to connect, another user could
    start to listen there.
    """
    try:
        parts = urlsplit(address if "://" in address else f"tcp://{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port is None:
        raise UsageError(
            "--dask needs the address of the scheduler, tcp://HOST:PORT or tls://HOST:PORT, not"
            f" {address}"
        )
    is_encrypted = parts.scheme in ENCRYPTED_SCHEMES
    if not (is_encrypted or insecure or is_loopback_host(host)):
        raise UsageError(
            f"{address} is another machine, and {parts.scheme} does not encrypt. Use tls://, or"
            " --insecure on a network that you trust."
        )
    if is_encrypted or insecure:
        return
    users = listening_users(port)
    strangers = users - {0, os.geteuid()}
    if not users:
        raise UsageError(
            f"no Dask scheduler listens at {address}. Start one, or correct the address after"
            " --dask."
        )
    if strangers:
        raise UsageError(
            f"the scheduler at {address} runs as another user (uid {min(strangers)}), who could run"
            " code in this process. Add --insecure if you trust that user."
        )


def listening_users(port: int) -> set[int]:
    """Return the uids whose sockets on this machine accept TCP connections at a port."""
    users = set()
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{name}").read_text("ascii").split("\n")[1:]:
                fields = line.split()
                is_port = len(fields) > 7 and fields[1].endswith(f":{port:04X}")
                if is_port and fields[3] == TCP_LISTENS:
                    users.add(int(fields[7]))
    return users


def is_loopback_host(host: str) -> bool:
    """Return whether every address of a host is a loopback address of this machine."""
    try:
        addresses = {str(entry[4][0]).split("%")[0] for entry in socket.getaddrinfo(host, None)}
        loopback = [ipaddress.ip_address(address).is_loopback for address in addresses]
    except (OSError, ValueError):
        return False
    return bool(loopback) and all(loopback)


def require_same_view(client: Any, paths: Sequence[Path]) -> None:
    """Raise UsageError unless every worker has this version of perfscope and sees the same
    files.
    """
    local = {str(path.resolve()): size_and_time(str(path.resolve())) for path in paths}
    workers = list(client.nthreads())
    if not workers:
        raise UsageError("the Dask cluster has no worker. Start one with `dask worker`.")
    for worker, answer in answers_of_workers(client, workers, list(local)).items():
        if answer is None:
            raise UsageError(
                f"Dask worker {worker} did not answer within {ANSWER_S} s. It may be busy or"
                " stopped: restart it, or read the traces without --dask."
            )
        if isinstance(answer, BaseException):
            raise UsageError(
                f"Dask worker {worker} cannot run perfscope ({first_line(answer)}). Install"
                f" perfscope-ml {__version__} there."
            )
        version, remote = answer
        if version != __version__:
            raise UsageError(
                f"Dask worker {worker} has perfscope-ml {version} and this machine {__version__}."
                " Install the same version on both."
            )
        for path, state in local.items():
            if remote.get(path) != state:
                problem = "cannot see" if remote.get(path) is None else "sees another file at"
                raise UsageError(
                    f"Dask worker {worker} {problem} {path}. Put the traces on a file system that"
                    " all workers share."
                )


def answers_of_workers(client: Any, workers: list[str], paths: list[str]) -> dict[str, Any]:
    """Return what each worker sees at these paths, or its error, or None if it does not answer."""
    asked = {
        worker: client.submit(worker_view, paths, workers=[worker], pure=False)
        for worker in workers
    }
    deadline_s = time.monotonic() + ANSWER_S
    return {worker: answer_before(deadline_s, future) for worker, future in asked.items()}


def answer_before(deadline_s: float, future: Any) -> Any:
    """Return the answer of a worker, or its error, or None if there is no answer until
    `deadline_s` of the monotonic clock.
    """
    try:
        error = future.exception(timeout=max(deadline_s - time.monotonic(), 0.01))
    except TimeoutError:
        return None
    return future.result() if error is None else error


def worker_view(paths: list[str]) -> tuple[str, dict[str, FileState | None]]:
    """Return, on a worker, its version of perfscope and what it sees at these paths."""
    return __version__, {path: size_and_time(path) for path in paths}


def size_and_time(path: str) -> FileState | None:
    """Return the size and the last change of a file, None where it cannot be seen."""
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_size, info.st_mtime_ns


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, else its type."""
    lines = str(error).splitlines()
    return (lines[0] if lines else "") or type(error).__name__
