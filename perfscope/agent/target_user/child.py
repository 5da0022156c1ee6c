"""Runs one function with the rights of a target's user, in a child process that lives for that
call.

The child is not trusted: the user may stop, kill or delay it, and decides what its files hold. It
has a time limit, its answer is bounded JSON, and what it opened comes back as descriptors.
"""

import array
import contextlib
import errno
import functools
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from perfscope.agent.target_user.rights import TargetUser, take_rights

LIMIT_S = 5.0
LARGEST_REPLY_BYTES = 16 << 20
MOST_FILES = 4
POLL_S = 0.001
PAUSE_S = 60.0
unresponsive_until_s: dict[int, float] = {}
"""By uid: a user who stops our helpers, or whose files do not answer, costs one time limit a minute
and not one per file.
"""


@dataclass(frozen=True)
class Reply:
    """What a function gives back: JSON-compatible data, and open files that now belong to the
    caller.
    """

    value: Any = None
    files: Sequence[int] = field(default=())


class Outcome(msgspec.Struct):
    """What the child sends: the value, or the error number of what failed."""

    value: Any = None
    error: int = 0


def call_as(
    user: TargetUser,
    function: Callable[..., Reply],
    *arguments: Any,
    files: tuple[int, ...] = (),
    limit_s: float = LIMIT_S,
) -> Reply:
    """Return `function(*arguments)`, run as `user`. Raises OSError, TimeoutError after `limit_s`
    seconds.

    The child has no open files but `user.root` and the descriptors in `files`. Where the files are
    our own it is a plain call in this process, without a time limit.
    """
    if not user.foreign:
        return function(*arguments)
    if time.monotonic() < unresponsive_until_s.get(user.uid, 0.0):
        raise TimeoutError(errno.ETIMEDOUT, f"helpers running as uid {user.uid} do not answer")
    parent_end, child_end = socket.socketpair()
    child = os.fork()
    if child == 0:
        keep = {child_end.fileno(), user.root, *files}
        serve(user, child_end, keep, functools.partial(function, *arguments))
    child_end.close()
    try:
        return reply_from(parent_end, time.monotonic() + limit_s)
    except TimeoutError:
        unresponsive_until_s[user.uid] = time.monotonic() + PAUSE_S
        raise
    finally:
        parent_end.close()
        kill_and_reap(child)


def serve(
    user: TargetUser, connection: socket.socket, keep: set[int], work: Callable[[], Reply]
) -> None:
    """Run in the child, which ends here; what is not an OSError ends it without an answer."""
    try:
        os.setsid()
        close_inherited_files(keep)
        try:
            take_rights(user)
            reply = work()
            outcome = Outcome(reply.value)
        except OSError as error:
            reply, outcome = Reply(), Outcome(error=error.errno or errno.EIO)
        send(connection, msgspec.json.encode(outcome), reply.files)
    finally:
        os._exit(0)


def close_inherited_files(kept: set[int]) -> None:
    """Close every inherited file; input and output lead nowhere."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            with contextlib.suppress(OSError):  # the listing itself was one of them
                os.close(int(name))


def send(connection: socket.socket, text: bytes, files: Sequence[int]) -> None:
    """Send the length, the files with it, then the text."""
    head = len(text).to_bytes(8, "little")
    if files:
        socket.send_fds(connection, [head], list(files))
    else:
        connection.sendall(head)
    connection.sendall(text)


def reply_from(connection: socket.socket, until_s: float) -> Reply:
    """Read one reply until `until_s` (time.monotonic). Raises OSError with what failed in the
    child.
    """
    received, files = bytearray(), array.array("i")
    try:
        while len(received) < 8 or len(received) < 8 + int.from_bytes(received[:8], "little"):
            if int.from_bytes(received[:8], "little") > LARGEST_REPLY_BYTES:
                raise OSError(errno.EFBIG, "the answer is too large")
            if not select.select([connection], [], [], max(until_s - time.monotonic(), 0))[0]:
                raise TimeoutError(errno.ETIMEDOUT, "no answer in time")
            part, opened, _, _ = socket.recv_fds(connection, 1 << 20, MOST_FILES)
            files.extend(opened)
            if not part:
                raise OSError(errno.EIO, "the child ended without an answer")
            received += part
        return Reply(decoded_value(bytes(received[8:])), list(files))
    except OSError:
        for file in files:
            os.close(file)
        raise


def decoded_value(text: bytes) -> Any:
    """Return the value of an outcome. Raises OSError with what failed in the child."""
    try:
        outcome = msgspec.json.decode(text, type=Outcome)
    except msgspec.MsgspecError:
        raise OSError(errno.EIO, "the child's answer is damaged") from None
    if outcome.error:
        raise OSError(outcome.error, os.strerror(outcome.error))
    return outcome.value


def kill_and_reap(child: int) -> None:
    """Kill the child and reap it. One that is stuck in the kernel stays until this process ends."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    until_s = time.monotonic() + 1.0
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(child, os.WNOHANG)[0] == 0 and time.monotonic() < until_s:
            time.sleep(POLL_S)
