"""The command that `perfscope run` starts: its streams are ours, signals sent to us are passed on,
its end is ours.

Nothing here raises once the command runs. Only SIGKILL of perfscope itself separates the two: the
command then runs on alone.
"""

import os
import signal
import subprocess
import time
from contextlib import suppress
from functools import partial
from types import FrameType

from perfscope.agent.collector_guard import Failure, GuardedThread, attempt
from perfscope.agent.host import proc
from perfscope.errors import UsageError

PASSED_ON = {
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2),
}
INTERRUPTING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
NOT_FOUND, NOT_EXECUTABLE = 127, 126
BY_SIGNAL = 128


WITNESS = "cat"
"""A program that waits for the end of its input: it ends with us, however we end."""
REACHING_S = 0.02
"""A signal to a group reaches its members one after the other."""


class Witness:
    """A process of our group that holds every signal it gets: one that is pending here was sent to
    the whole group.

    Who sent a signal is told, but not whether it was meant for us alone; a launcher (SLURM, a
    shell's `kill -- -GROUP`) may have sent it to the command as well, and twice it must not get it.
    """

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.renew()

    def renew(self) -> None:
        """What is pending cannot be taken back: another process stands in."""
        self.end()
        with suppress(
            OSError, subprocess.SubprocessError
        ):  # without the program every signal is passed on
            self.process = subprocess.Popen(
                [WITNESS], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
            )

    def has(self, signo: int) -> bool:
        """Did it get this signal too?"""
        pending = (
            "" if self.process is None else proc.read(f"/proc/{self.process.pid}/status") or ""
        )
        mask = next(
            (line.split()[1] for line in pending.splitlines() if line.startswith("ShdPnd:")), "0"
        )
        return bool(int(mask, 16) >> (signo - 1) & 1)

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


class StartedCommand:
    """A running command. Starting raises UsageError where there is no such program, with a shell's
    exit codes.
    """

    def __init__(self, words: list[str], environment: dict[str, str]) -> None:
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        self.is_over = False
        self.witness = Witness()
        try:
            self.process = started(words, environment, self.mask)
        except OSError as error:
            self.witness.end()
            signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)
            raise cannot_start(words[0], error) from None
        self.thread = GuardedThread(target=self.pass_on, name="signals", daemon=True)
        if isinstance(
            attempt(self.thread.start), Failure
        ):  # no more threads or processes are allowed
            self.pass_on_by_handlers()

    @property
    def pid(self) -> int:
        return self.process.pid

    def pass_on(self) -> None:
        """What another process sends us alone goes to the command; what went to our group (Ctrl-C)
        has reached it already.
        """
        while not self.is_over:
            heard = signal.sigwaitinfo(PASSED_ON)
            is_for_us = heard.si_code <= 0 and heard.si_pid != self.pid
            attempt(partial(self.pass_one if is_for_us else self.has_reached, heard.si_signo))

    def pass_one(self, signo: int) -> None:
        """Send the command a signal that it has not got yet; where that cannot be found out, rather
        twice than never.
        """
        if attempt(partial(self.has_reached, signo)) is not True:
            self.process.send_signal(signo)

    def pass_on_by_handlers(self) -> None:
        """Pass signals on from the main thread, which does not learn who sent them."""
        for signo in PASSED_ON:
            signal.signal(signo, self.handle)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)

    def handle(self, signo: int, frame: FrameType | None) -> None:
        attempt(partial(self.pass_one, signo))

    def has_reached(self, signo: int) -> bool:
        """Was the signal sent to the group that the command is in?"""
        time.sleep(REACHING_S)
        if not self.witness.has(signo):
            return False
        self.witness.renew()
        with suppress(ProcessLookupError):
            return os.getpgid(self.pid) == os.getpgrp()
        return True

    def wait(self) -> int:
        """Its exit code, 128 + n when signal n ended it."""
        code = self.process.wait()
        attempt(self.witness.end)
        return code if code >= 0 else BY_SIGNAL - code

    def release_signals(self) -> None:
        """Once the command has ended: signals that end a program raise KeyboardInterrupt, once; all
        others are ignored.
        """
        self.is_over = True
        if self.thread.ident is not None and self.thread.is_alive():
            signal.pthread_kill(self.thread.ident, signal.SIGUSR2)
            self.thread.join(REACHING_S * 10)
        for signo in PASSED_ON:
            if signal.getsignal(signo) != signal.SIG_IGN:
                signal.signal(signo, interrupt if signo in INTERRUPTING else signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)


def started(
    words: list[str], environment: dict[str, str], mask: set[int | signal.Signals]
) -> "subprocess.Popen[bytes]":
    """Start the command with this signal mask. Raises OSError.

    Where SIGCHLD is ignored, as some launchers leave it, the kernel keeps no exit codes: here it is
    not, in the command it is.
    """
    before = signal.getsignal(signal.SIGCHLD)
    if before == signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def prepare() -> None:
        if before == signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    return subprocess.Popen(words, env=environment, preexec_fn=prepare)


def interrupt(signo: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; a second signal must not cut short what is left to do."""
    ignore_signals()
    raise KeyboardInterrupt


def ignore_signals() -> None:
    """Ignore every signal that was passed on to the command."""
    for signo in PASSED_ON:
        signal.signal(signo, signal.SIG_IGN)


def cannot_start(program: str, error: OSError) -> UsageError:
    refusal = UsageError(
        f"cannot start {program}: {error.strerror}; give a program and its arguments after `--`"
    )
    refusal.exit_code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    return refusal
