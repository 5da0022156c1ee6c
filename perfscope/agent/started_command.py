"""The command that `perfscope run` starts: its streams are ours, signals sent to us are passed on, its end is ours."""

import os
import signal
import subprocess
import threading
from contextlib import suppress

from perfscope.errors import UsageError

PASSED_ON = {
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2),
}
NOT_FOUND, NOT_EXECUTABLE = 127, 126
BY_SIGNAL = 128


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
        threading.Thread(target=self.pass_on, name="signals", daemon=True).start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def pass_on(self) -> None:
        """What another process sends us goes to the command; the terminal's own (Ctrl-C) has reached it already."""
        while True:
            heard = signal.sigwaitinfo(PASSED_ON)
            if heard.si_code <= 0 and heard.si_pid != self.pid:
                with suppress(ProcessLookupError):
                    os.kill(self.pid, heard.si_signo)

    def wait(self) -> int:
        """Its exit code, 128 + n when signal n ended it."""
        code = self.process.wait()
        return code if code >= 0 else BY_SIGNAL - code


def cannot_start(program: str, error: OSError) -> UsageError:
    refusal = UsageError(f"cannot start {program}: {error.strerror}; give a program and its arguments after `--`")
    refusal.exit_code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    return refusal
