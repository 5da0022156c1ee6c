"""The command that `perfscope run` starts: its streams are ours, signals sent to us are passed on, its end is ours."""

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress

from perfscope.agent.host import proc
from perfscope.errors import UsageError

PASSED_ON = {
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2),
}
NOT_FOUND, NOT_EXECUTABLE = 127, 126
BY_SIGNAL = 128


WITNESS = "cat"
"""A program that waits for the end of its input: it ends with us, however we end."""
REACHING_S = 0.02
"""A signal to a group reaches its members one after the other."""


class Witness:
    """A process of our group that holds every signal it gets: one that is pending here was sent to the whole group.

    Who sent a signal is told, but not whether it was meant for us alone; a launcher (SLURM, a shell's `kill -- -GROUP`) may have
    sent it to the command as well, and twice it must not get it.
    """

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.renew()

    def renew(self) -> None:
        """What is pending cannot be taken back: another process stands in."""
        self.end()
        with suppress(OSError):  # without the program every signal is passed on
            self.process = subprocess.Popen([WITNESS], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)

    def has(self, signo: int) -> bool:
        """Did it get this signal too?"""
        pending = "" if self.process is None else proc.read(f"/proc/{self.process.pid}/status") or ""
        mask = next((line.split()[1] for line in pending.splitlines() if line.startswith("ShdPnd:")), "0")
        return bool(int(mask, 16) >> (signo - 1) & 1)

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


class StartedCommand:
    """A running command. Starting raises UsageError where there is no such program, with a shell's exit codes."""

    def __init__(self, words: list[str], environment: dict[str, str]) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)

        def unblock() -> None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

        try:
            self.process = subprocess.Popen(words, env=environment, preexec_fn=unblock)
        except OSError as error:
            unblock()
            raise cannot_start(words[0], error) from None
        self.witness = Witness()
        threading.Thread(target=self.pass_on, name="signals", daemon=True).start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def pass_on(self) -> None:
        """What another process sends us alone goes to the command; what went to our group (Ctrl-C) has reached it already."""
        while True:
            heard = signal.sigwaitinfo(PASSED_ON)
            reached = self.has_reached(heard.si_signo)
            if heard.si_code <= 0 and heard.si_pid != self.pid and not reached:
                with suppress(ProcessLookupError):
                    os.kill(self.pid, heard.si_signo)

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
        self.witness.end()
        return code if code >= 0 else BY_SIGNAL - code


def cannot_start(program: str, error: OSError) -> UsageError:
    refusal = UsageError(f"cannot start {program}: {error.strerror}; give a program and its arguments after `--`")
    refusal.exit_code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    return refusal
