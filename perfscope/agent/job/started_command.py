"""The command that `perfscope run` starts.

It has our standard streams, gets the signals sent to us, and its exit code becomes ours. Nothing
here raises once the command runs. When perfscope itself is killed by SIGKILL, the command continues
to run.
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

INTERRUPTING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
OF_THIS_PROCESS = {
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGCHLD,
    signal.SIGPIPE,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGTRAP,
    signal.SIGSYS,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCONT,
    signal.SIGABRT,
    signal.SIGXFSZ,
}
"""Signals that nobody can forward, that say what this process did, and those of job control, which
the terminal sends to the whole group.
"""
FORWARDED = signal.valid_signals() - OF_THIS_PROCESS
FROM_THE_TERMINAL = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH}
"""Signals that the kernel sends for a terminal. SIGHUP goes to the leader of the session alone,
which may be this process.
"""
NOT_FOUND, NOT_EXECUTABLE = 127, 126
BY_SIGNAL = 128
WITNESS = "cat"
"""A program that waits for the end of its input, so it ends with us however we end."""
GROUP_DELIVERY_S = 0.02
"""How long a signal to a process group may take to reach all of its members."""


class SignalWitness:
    """A process of our group that blocks all signals: one that is pending there went to the group.

    The kernel reports who sent a signal, but not whether it was sent to the group. Where a launcher
    (SLURM, a shell's `kill -- -GROUP`) did that, the command has got it already and must not get it
    twice.
    """

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.renew()

    def renew(self) -> None:
        """Replace the process by one without pending signals."""
        self.end()
        # Without the program, every signal is forwarded.
        with suppress(OSError, subprocess.SubprocessError):
            self.process = subprocess.Popen(
                [WITNESS], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
            )

    def has(self, signo: int) -> bool:
        """Return whether the process got this signal."""
        if self.process is None:
            return False
        try:
            pending = int(proc.read_status(self.process.pid)["ShdPnd"], 16)
        except (OSError, KeyError):
            return False
        return bool(pending >> (signo - 1) & 1)

    def end(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


class StartedCommand:
    """A running command."""

    def __init__(self, words: list[str], environment: dict[str, str]) -> None:
        """Start the command.

        Raises UsageError, with the exit code of a shell, where that is not possible.
        """
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
        self.is_over = False
        self.witness = SignalWitness()
        try:
            self.process = start_process(words, environment, self.mask)
        except OSError as error:
            self.witness.end()
            signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)
            raise start_error(words[0], error) from None
        self.thread = GuardedThread(target=self.forward_signals, name="signals", daemon=True)
        # Starting fails where no more threads or processes are allowed.
        if isinstance(attempt(self.thread.start), Failure):
            self.forward_by_handlers()

    @property
    def pid(self) -> int:
        """The pid of the command."""
        return self.process.pid

    def forward_signals(self) -> None:
        """Forward signals that another process or the terminal sends to us alone, until the command
        has ended.

        A signal to our group, such as Ctrl-C, reaches the command without us.
        """
        while not self.is_over:
            received = signal.sigwaitinfo(FORWARDED)
            is_from_process = received.si_code <= 0 and received.si_pid != self.pid
            is_for_command = is_from_process or (
                received.si_code > 0 and received.si_signo in FROM_THE_TERMINAL
            )
            handle = self.forward if is_for_command else self.has_reached_group
            attempt(partial(handle, received.si_signo))

    def forward(self, signo: int) -> None:
        """Send the command a signal that it has not got yet.

        Where that is unknown, the signal is sent: twice is better than never.
        """
        if attempt(partial(self.has_reached_group, signo)) is not True:
            self.process.send_signal(signo)

    def forward_by_handlers(self) -> None:
        """Forward signals from handlers, which do not learn who sent them."""
        for signo in FORWARDED:
            signal.signal(signo, self.handle)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)

    def handle(self, signo: int, frame: FrameType | None) -> None:
        """Forward a signal."""
        attempt(partial(self.forward, signo))

    def has_reached_group(self, signo: int) -> bool:
        """Return whether a signal was sent to the process group that the command is in."""
        time.sleep(GROUP_DELIVERY_S)
        if not self.witness.has(signo):
            return False
        self.witness.renew()
        with suppress(ProcessLookupError):
            return os.getpgid(self.pid) == os.getpgrp()
        return True

    def wait(self) -> int:
        """Wait for the command; return its exit code, 128 + n where signal n ended it."""
        code = self.process.wait()
        attempt(self.witness.end)
        return code if code >= 0 else BY_SIGNAL - code

    def release_signals(self) -> None:
        """Stop forwarding, once the command has ended.

        From now on, the first signal that ends a program raises KeyboardInterrupt. All others are
        ignored.
        """
        self.is_over = True
        if self.thread.ident is not None and self.thread.is_alive():
            signal.pthread_kill(self.thread.ident, signal.SIGUSR2)
            self.thread.join(GROUP_DELIVERY_S * 10)
        for signo in FORWARDED:
            if signal.getsignal(signo) != signal.SIG_IGN:
                signal.signal(signo, raise_interrupt if signo in INTERRUPTING else signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)


def start_process(
    words: list[str], environment: dict[str, str], mask: set[int | signal.Signals]
) -> "subprocess.Popen[bytes]":
    """Start the command with this signal mask. Raises OSError.

    Some launchers leave SIGCHLD ignored, so that the kernel keeps no exit codes. It is then reset
    here, but remains ignored in the command.
    """
    before = signal.getsignal(signal.SIGCHLD)
    if before == signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def prepare() -> None:
        if before == signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    return subprocess.Popen(words, env=environment, preexec_fn=prepare)


def raise_interrupt(signo: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, and ignore further signals, so that the rest can be completed."""
    ignore_signals()
    raise KeyboardInterrupt


def ignore_signals() -> None:
    """Ignore every signal that was forwarded to the command."""
    for signo in FORWARDED:
        signal.signal(signo, signal.SIG_IGN)


def start_error(program: str, reason: OSError) -> UsageError:
    """Return the error for a program that cannot be started, with the exit code of a shell."""
    error = UsageError(
        f"cannot start {program}: {reason.strerror}; give a program and its arguments after `--`"
    )
    error.exit_code = NOT_FOUND if isinstance(reason, FileNotFoundError) else NOT_EXECUTABLE
    return error
