"""Enters CPython 3.14 and newer by the debugger interface of PEP 768: a script that is asked for in
the target's memory.

The script is laid out with the rights of the target's user, and only starts a thread. Running it
and taking it back are the same act, the renaming of one file, so that the source runs once.
"""

import contextlib
import os
import time
from dataclasses import dataclass

from perfscope.agent.entry import stub
from perfscope.agent.entry.debugger_fields import (
    DebuggerFields,
    NoDebuggerFields,
    find_debugger_fields,
)
from perfscope.agent.entry.idle import IdleWatch
from perfscope.agent.entry.injected_page import FAULTS
from perfscope.agent.entry.process_identity import Target
from perfscope.agent.entry.refusals import own_pid
from perfscope.agent.entry.symbols import symbol_range
from perfscope.agent.leftovers import folder_name
from perfscope.agent.target_user import files
from perfscope.agent.target_user.child import Reply, call_as
from perfscope.agent.target_user.rights import TargetUser, target_user

CANDIDATE_FOLDERS = ("/tmp", "/dev/shm", "/var/tmp")  # in the target's root directory
PREFIX = "perfscope-entry-"
START_TIMEOUT_S = 4.0  # then ptrace is tried
POLL_S = 0.005
CHECK_S = 0.02
BEGINS_WITHIN_S = 1.0
OPENS_WITHIN_S = 0.2
"""How long a target may still take to open the script after the request is cancelled."""

# All of it inside the try, from the first instruction on: a signal handler of the user's may raise
# anywhere in it.
SCRIPT = """\
try:
    import _signal, _thread, os
    here = {here!r}
    def leave():
        for name in ('script.py', 'source', 'taken', 'withdrawn'):
            try:
                os.unlink(here + '/' + name)
            except OSError:
                pass
        try:
            os.rmdir(here)
        except OSError:
            pass
    def work():
        try:
            _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals() - {faults!r})
            try:
                os.rename(here + '/fresh', here + '/taken')
            except OSError:
                if os.path.exists(here + '/withdrawn'):
                    leave()
                return
            with open(here + '/source', 'rb') as stream:
                text = stream.read()
            leave()
            exec(text, {{'__builtins__': __builtins__}})
        except BaseException:
            pass
    _thread.start_new_thread(work, ())
except BaseException as error:
    frame = error.__traceback__
    while frame.tb_next:
        frame = frame.tb_next
    if isinstance(error, KeyboardInterrupt) or frame.tb_frame.f_globals is not globals():
        # A handler of the user's raised in here: have it raised once more, as from a handler, where the user's code goes on.
        import _signal, _thread, sys, time
        def hand_on(number, handler, theirs, main, ours):
            def once(_number, frame):
                if frame is None or frame.f_globals is not ours:
                    _signal.signal(number, handler)
                    raise theirs
            def later():
                while (frame := sys._current_frames().get(main)) is not None and frame.f_globals is ours:
                    time.sleep(0.0002)
                _thread.interrupt_main(number)
                work()
            _signal.signal(number, once)
            _thread.start_new_thread(later, ())
        for number in _signal.valid_signals():
            if callable(_signal.getsignal(number)):
                hand_on(number, _signal.getsignal(number), error, _thread.get_ident(), globals())
                break
"""  # noqa: E501


@dataclass(frozen=True)
class ScriptFolder:
    """The folder with script and source: `name` in `place`, both as the target sees them; `folder`
    is it, open.
    """

    user: TargetUser
    place: str
    name: str
    folder: int

    @property
    def path(self) -> str:
        """The folder as the target names it."""
        return f"{self.place}/{self.name}"

    def was_taken(self) -> bool:
        """Return whether the target's thread has begun. Raises OSError."""
        return not call_as(
            self.user, files.has_entry, self.folder, "fresh", files=(self.folder,)
        ).value

    def withdraw(self) -> bool:
        """Take it back; False when the target was quicker. Raises OSError."""
        renamed = call_as(
            self.user, files.rename_entry, self.folder, "fresh", "withdrawn", files=(self.folder,)
        )
        return bool(renamed.value)

    def remove(self) -> None:
        """Remove the folder, as far as the target has not."""
        with contextlib.suppress(OSError):
            place = (self.user.root, self.place, self.name, self.folder)
            call_as(self.user, files.remove_folder, *place, files=(self.folder,))


def enter_by_debugger_fields(target: Target, source: str, version: int, deadline_ns: int) -> bool:
    """Hand `source` over; False where that cannot be done or the main thread is idle: then another
    way is needed.

    version: PY_VERSION_HEX of the target. Raises SyntaxError.
    """
    pid = target.pid
    watch = IdleWatch(pid)
    if watch.settle() is not None:
        return False  # a waiting thread would not look at the script
    text = stub.text(source, own_pid(pid), version)
    try:
        with target_user(pid) as user:
            target.refuse_if_changed()
            runtime = symbol_range(pid, "_PyRuntime")
            fields = find_debugger_fields(target.memory, runtime[0] if runtime else 0, version)
            return hand_over(fields, create_script_folder(user, text.decode()), watch, deadline_ns)
    except (OSError, NoDebuggerFields):
        return False


def create_script_folder(user: TargetUser, text: str) -> ScriptFolder:
    """Make the folder with the script. Raises OSError when no place can be written."""
    name = folder_name(PREFIX)
    reply = call_as(user, create_as_user, user.root, name, text)
    return ScriptFolder(user, str(reply.value), name, reply.files[0])


def create_as_user(root: int, name: str, text: str) -> Reply:
    """Make the folder in the first place that can be written, run as the target's user. Raises
    OSError.
    """
    for place in CANDIDATE_FOLDERS:
        files.remove_dead_folders(root, place, PREFIX)
    failure = OSError()
    for place in CANDIDATE_FOLDERS:
        script = SCRIPT.format(here=f"{place}/{name}", faults=set(map(int, FAULTS)))
        try:
            return files.make_folder(
                root, place, name, {"script.py": script, "source": text, "fresh": ""}
            )
        except OSError as error:
            failure = error
    raise failure


def hand_over(
    fields: DebuggerFields, script_folder: ScriptFolder, watch: IdleWatch, deadline_ns: int
) -> bool:
    """Ask for the script and wait until it runs; True when it has. Raises OSError,
    NoDebuggerFields; leaves no folder.
    """
    taken = False
    try:
        fields.request_script(f"{script_folder.path}/script.py")
        until_ns = min(deadline_ns, time.monotonic_ns() + int(START_TIMEOUT_S * 1e9))
        while fields.is_pending() and time.monotonic_ns() < until_ns and watch.idle is None:
            watch.look()
            time.sleep(POLL_S)
        taken = has_begun(fields, script_folder) or not cancelled_in_time(fields, script_folder)
        return taken
    finally:
        if not taken:
            script_folder.remove()
        os.close(script_folder.folder)


def has_begun(fields: DebuggerFields, script_folder: ScriptFolder) -> bool:
    """Return whether the script, which the target has begun with, has started its thread. Raises
    OSError.
    """
    until_s = time.monotonic() + BEGINS_WITHIN_S
    while not fields.is_pending() and time.monotonic() < until_s:
        if script_folder.was_taken():
            return True
        time.sleep(CHECK_S)
    return False


def cancelled_in_time(fields: DebuggerFields, script_folder: ScriptFolder) -> bool:
    """Cancel the request; False when the target was quicker. Raises OSError."""
    fields.cancel_request()
    taken_back = script_folder.withdraw()
    if taken_back:
        time.sleep(
            OPENS_WITHIN_S
        )  # CPython prints an error when a script that it wants to open is gone
    return taken_back
