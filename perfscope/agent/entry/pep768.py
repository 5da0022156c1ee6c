"""Enters CPython 3.14 and newer by the debugger interface of PEP 768: a script that is requested in
the target's memory.

The script is written with the rights of the target's user, and only starts a thread. Both running
and withdrawing it begin by renaming the same file, so that the source runs at most once.
"""

import contextlib
import os
import time
from dataclasses import dataclass

from perfscope.agent.entry import injected_source
from perfscope.agent.entry.debugger_fields import (
    DebuggerFields,
    NoDebuggerFields,
    find_debugger_fields,
)
from perfscope.agent.entry.idle_thread import IdleWatch
from perfscope.agent.entry.injected_page import FAULTS
from perfscope.agent.entry.process_identity import Target
from perfscope.agent.entry.refusals import innermost_pid
from perfscope.agent.entry.symbols import symbol_range
from perfscope.agent.target_user import files
from perfscope.agent.target_user.child import Reply, call_as
from perfscope.agent.target_user.rights import TargetUser, target_user
from perfscope.agent.temporary_folders import folder_name

CANDIDATE_FOLDERS = ("/tmp", "/dev/shm", "/var/tmp")  # in the target's root directory
PREFIX = "perfscope-entry-"
START_TIMEOUT_S = 4.0  # then ptrace is tried
POLL_S = 0.005
CHECK_S = 0.02
BEGINS_WITHIN_S = 1.0
# How long a target may still take to open the script after the request is canceled.
OPENS_WITHIN_S = 0.2

# Everything is inside the try, from the first instruction on: a signal handler of the program may
# raise anywhere in it. Such an exception is raised again from a handler, once the program's own
# code continues.
SCRIPT = """\
try:
    import _signal, _thread, os
    folder = {folder!r}
    def remove_folder():
        for name in ('script.py', 'source', 'taken', 'withdrawn'):
            try:
                os.unlink(folder + '/' + name)
            except OSError:
                pass
        try:
            os.rmdir(folder)
        except OSError:
            pass
    def work():
        try:
            _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals() - {faults!r})
            try:
                os.rename(folder + '/fresh', folder + '/taken')
            except OSError:
                if os.path.exists(folder + '/withdrawn'):
                    remove_folder()
                return
            with open(folder + '/source', 'rb') as stream:
                text = stream.read()
            remove_folder()
            exec(text, {{'__builtins__': __builtins__}})
        except BaseException:
            pass
    _thread.start_new_thread(work, ())
except BaseException as error:
    last = error.__traceback__
    while last.tb_next:
        last = last.tb_next
    if isinstance(error, KeyboardInterrupt) or last.tb_frame.f_globals is not globals():
        import _signal, _thread, sys, time
        def raise_again(number, handler, error, main, script_globals):
            def handle_once(_number, frame):
                if frame is None or frame.f_globals is not script_globals:
                    _signal.signal(number, handler)
                    raise error
            def interrupt_later():
                while True:
                    frame = sys._current_frames().get(main)
                    if frame is None or frame.f_globals is not script_globals:
                        break
                    time.sleep(0.0002)
                _thread.interrupt_main(number)
                work()
            _signal.signal(number, handle_once)
            _thread.start_new_thread(interrupt_later, ())
        for number in _signal.valid_signals():
            handler = _signal.getsignal(number)
            if callable(handler):
                raise_again(number, handler, error, _thread.get_ident(), globals())
                break
"""


@dataclass(frozen=True)
class ScriptFolder:
    """The folder with script and source: `name` in `place`, as the target sees them.

    folder: its open descriptor.
    """

    user: TargetUser
    place: str
    name: str
    folder: int

    @property
    def path(self) -> str:
        """The path of the folder in the target."""
        return f"{self.place}/{self.name}"

    def was_taken(self) -> bool:
        """Return whether the target's thread has begun. Raises OSError."""
        arguments = (self.folder, "fresh")
        found = call_as(self.user, files.has_entry, *arguments, files=(self.folder,))
        return not found.value

    def withdraw(self) -> bool:
        """Withdraw the script; return False if the target was faster. Raises OSError."""
        arguments = (self.folder, "fresh", "withdrawn")
        renamed = call_as(self.user, files.rename_entry, *arguments, files=(self.folder,))
        return bool(renamed.value)

    def remove(self) -> None:
        """Remove the folder if the target has not."""
        with contextlib.suppress(OSError):
            place = (self.user.root, self.place, self.name, self.folder)
            call_as(self.user, files.remove_folder, *place, files=(self.folder,))


def enter_by_debugger_fields(target: Target, source: str, version: int, deadline_ns: int) -> bool:
    """Run `source` in the target.

    Returns False if that is not possible, or the main thread is idle: then another way is needed.
    version: PY_VERSION_HEX of the target. Raises SyntaxError.
    """
    pid = target.pid
    watch = IdleWatch(pid)
    if watch.settle() is not None:
        return False  # a waiting thread would not look at the script
    text = injected_source.bootstrap_text(source, innermost_pid(pid), version)
    try:
        with target_user(pid) as user:
            target.refuse_if_changed()
            runtime = symbol_range(pid, "_PyRuntime")
            fields = find_debugger_fields(target.memory, runtime[0] if runtime else 0, version)
            folder = create_script_folder(user, text.decode())
            return run_script(fields, folder, watch, deadline_ns)
    except (OSError, NoDebuggerFields):
        return False


def create_script_folder(user: TargetUser, text: str) -> ScriptFolder:
    """Create the folder with the script. Raises OSError if no place can be written."""
    name = folder_name(PREFIX)
    reply = call_as(user, create_as_user, user.root, name, text)
    return ScriptFolder(user, str(reply.value), name, reply.files[0])


def create_as_user(root: int, name: str, text: str) -> Reply:
    """Create the folder in the first writable place; run as the target's user. Raises OSError."""
    for place in CANDIDATE_FOLDERS:
        files.remove_dead_folders(root, place, PREFIX)
    failure = OSError()
    for place in CANDIDATE_FOLDERS:
        script = SCRIPT.format(folder=f"{place}/{name}", faults=set(map(int, FAULTS)))
        content = {"script.py": script, "source": text, "fresh": ""}
        try:
            return files.make_target_folder(root, place, name, content)
        except OSError as error:
            failure = error
    raise failure


def run_script(
    fields: DebuggerFields, script_folder: ScriptFolder, watch: IdleWatch, deadline_ns: int
) -> bool:
    """Request the script and wait until it runs; return whether it did, and leave no folder.

    Raises OSError, NoDebuggerFields.
    """
    taken = False
    try:
        fields.request_script(f"{script_folder.path}/script.py")
        until_ns = min(deadline_ns, time.monotonic_ns() + int(START_TIMEOUT_S * 1e9))
        while fields.is_pending() and time.monotonic_ns() < until_ns and watch.idle is None:
            watch.observe()
            time.sleep(POLL_S)
        taken = has_begun(fields, script_folder) or not cancel_in_time(fields, script_folder)
        return taken
    finally:
        if not taken:
            script_folder.remove()
        os.close(script_folder.folder)


def has_begun(fields: DebuggerFields, script_folder: ScriptFolder) -> bool:
    """Wait until the script that the target runs has started its thread; return whether it has.

    Raises OSError.
    """
    until_s = time.monotonic() + BEGINS_WITHIN_S
    while not fields.is_pending() and time.monotonic() < until_s:
        if script_folder.was_taken():
            return True
        time.sleep(CHECK_S)
    return False


def cancel_in_time(fields: DebuggerFields, script_folder: ScriptFolder) -> bool:
    """Cancel the request; return False if the target was faster. Raises OSError."""
    fields.cancel_request()
    is_withdrawn = script_folder.withdraw()
    if is_withdrawn:
        # CPython prints an error if it is about to open the script and the file is gone.
        time.sleep(OPENS_WITHIN_S)
    return is_withdrawn
