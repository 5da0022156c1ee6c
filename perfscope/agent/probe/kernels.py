"""A short window of torch's own profiler: operators and kernels of every thread, switched on and off without the GIL.

One window at a time, on a raw thread of its own. It is started through torch's Python door with `profile_all_threads`, and
ended through three exported C++ functions called by ctypes, which lets go of the GIL meanwhile: by the Python door the end
would hold it for ten microseconds an operator, seconds for a busy program. The trace goes into a memory file that the agent
is handed; no file of any directory is touched.

A profiler of the program's own goes first, always: none is started beside one that is on or getting ready, and a window that
is on ends before theirs begins. What cannot be known for sure (an older torch, a symbol that is missing) means: no window.
"""

import itertools
import os
import sys
import time
from _thread import allocate_lock, get_ident, start_new_thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.core import Line, Probe

AUTOGRAD = "_ZN5torch8autograd8profiler"
DISABLE = AUTOGRAD + "15disableProfilerEv"
SAVE = AUTOGRAD + "14ProfilerResult4saveERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"
DESTROY = AUTOGRAD + "14ProfilerResultD1Ev"
ANY_ON = AUTOGRAD + "29isProfilerEnabledInMainThreadEv"
STATE = "_ZZN5torch8profiler4impl18GlobalStateManagerINS1_17ProfilerStateBaseEE9singletonEvE10singleton_"
SEVERITY = "_ZN9libkineto6Logger14severityLevel_E"
API = "_ZN9libkineto3apiEv"
API_WORDS = 12
LOW_32 = 0xFFFFFFFF
FORGET = "_ZN2at20clearGlobalCallbacksEv"
QUIET = 6
NEVER = -1
TRIAL_S = 0.1
BYTES_PER_EVENT = 400
ASK_AGAIN_S = 5.0
THEIRS_WAIT_S = 15.0
OURS_WAIT_S = 60.0


def claimed(probe: "Probe", inherited: "Callable[[Any, str], Probe | None]") -> str | None:
    return None


def install(probe: "Probe") -> None:
    torch = sys.modules.get("torch")
    if torch is None or getattr(sys.modules.get("torch.utils.data._utils.worker"), "_worker_info", None) is not None:
        return
    windows = Windows(probe, torch)
    if windows.refusal is None:
        windows.watch_theirs()
        probe.optimizer_ended.append(windows.stepped)
        probe.forward_began.append(windows.called)
        probe.endings.append(windows.leave)
    probe.ticks.append(windows.tick)


class Torch:
    """The doors of the torch that is loaded. Raises LookupError with the reason where one is missing."""

    def __init__(self, torch: Any) -> None:
        ctypes = sys.modules.get("ctypes")
        self.profiler: Any = getattr(torch._C, "_profiler", None)
        self.autograd: Any = getattr(torch._C, "_autograd", None)
        path = os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_cpu.so")
        version = getattr(torch, "__version__", "?")
        if ctypes is None or self.profiler is None or self.autograd is None or not mapped(path):
            raise LookupError(f"this build of torch {version} has no profiler that can be reached")
        self.ctypes = ctypes
        try:
            self.experimental = self.profiler._ExperimentalConfig(profile_all_threads=True, trace_only=True)
        except TypeError:
            raise LookupError(f"torch {version} cannot profile all threads at once (2.13 can)") from None
        library, pointer = ctypes.CDLL(path), ctypes.c_void_p
        try:
            self.disable = typed(getattr(library, DISABLE), pointer, pointer)
            self.write = typed(getattr(library, SAVE), None, pointer, pointer)
            self.destroy = typed(getattr(library, DESTROY), None, pointer)
            self.any_on = typed(getattr(library, ANY_ON), ctypes.c_bool)
            self.forget = typed(getattr(library, FORGET), None)
            self.registrar = self.find_registrar(typed(getattr(library, API), pointer)())
            self.state = pointer.in_dll(library, STATE)
            self.severity = ctypes.c_int.in_dll(library, SEVERITY)
        except (AttributeError, ValueError):
            raise LookupError(f"torch {version} has no way to end a window without stopping the program") from None
        self.spoken = self.severity.value
        libc = ctypes.CDLL(None)
        self.free, self.trim = typed(libc.free, None, pointer), getattr(libc, "malloc_trim", None)
        cuda = torch.cuda.is_initialized()
        kinds = self.profiler.ProfilerActivity
        self.activities = {kinds.CPU, kinds.CUDA} if cuda else {kinds.CPU}

    def start(self) -> int:
        """Switch it on, with shapes and memory, for every thread; the address of its state. Raises LookupError."""
        door = self.profiler
        asked = door.ProfilerConfig(door.ProfilerState.KINETO, True, True, False, False, False, self.experimental, "")
        slot = self.registrar
        if slot is None and not self.severity.value:
            raise LookupError("torch's profiler would write a line into the program's stderr when first started")
        # Kineto asks to be initialised by the thread that loaded torch, else says so on stderr; what that does is the same
        kept = slot.value if slot is not None else 0
        try:
            if slot is not None:
                slot.value = get_ident() & LOW_32
            self.prepare(asked, self.activities)
        finally:
            if slot is not None:
                slot.value = kept
        # Kineto sets the level when it is first initialised, by preparing; before, it reads 0, and means nothing
        self.spoken = self.severity.value
        self.severity.value = QUIET
        self.enable(asked, self.activities)
        if not self.state.value:  # not where this torch keeps it: then it can only be ended from this thread
            self.autograd_off()
            raise LookupError("this torch keeps its profiler where it cannot be ended without stopping the program")
        return int(self.state.value)

    def find_registrar(self, api: int) -> Any:
        """Where Kineto keeps which thread loaded torch: the one word of its `api()` that names a living thread, or None."""
        living = {ident & LOW_32 for ident in getattr(sys.modules.get("threading"), "_active", {})}
        words = (self.ctypes.c_uint32 * API_WORDS).from_address(api)
        places = [place for place, word in enumerate(words) if word in living]
        return self.ctypes.c_uint32.from_address(api + 4 * places[0]) if len(places) == 1 else None

    def take_doors(self) -> None:
        """The unpatched functions: ours must not give way to itself."""
        door = self.autograd
        self.prepare, self.enable, self.autograd_off = (
            door._prepare_profiler,
            door._enable_profiler,
            door._disable_profiler,
        )

    def save(self, result: Any, file: int) -> None:
        """Write the trace into a file of ours, and give its memory back.

        Kineto writes to NAME.tmp and renames it; a zero byte behind the name ends it for the kernel before the `.tmp`.
        """
        ctypes = self.ctypes
        name = ctypes.create_string_buffer(b"/proc/self/fd/%d\0" % file)
        text = (ctypes.c_uint64 * 4)(ctypes.addressof(name), len(name.value) + 1, 0, 0)
        try:
            self.write(result, ctypes.addressof(text))
        finally:
            self.destroy(result)
            self.free(result)

    def tidy(self) -> None:
        """What the window took goes back to the kernel."""
        self.severity.value = self.spoken
        if self.trim is not None:
            self.trim(0)


def typed(function: Any, result: Any, *arguments: Any) -> Any:
    function.restype, function.argtypes = result, arguments
    return function


def mapped(path: str) -> bool:
    """Is the library at `path` one of those loaded? Opening another would bring a second torch in."""
    real = os.path.realpath(path)
    with open("/proc/self/maps") as maps:
        return any(line.rstrip().endswith(real) for line in maps)


class Windows:
    """The windows of one process. `refusal` says why there are none."""

    def __init__(self, probe: "Probe", torch: Any) -> None:
        self.probe = probe
        self.wanted: dict[str, Any] = probe.config["window"]
        self.refusal: str | None = None
        self.bell = allocate_lock()
        self.bell.acquire()
        self.theirs: set[int] = set()
        self.marks: list[int] = []
        self.updates = self.left = 0
        self.asked_ns = 0
        self.on = self.running = self.hurried = False
        self.done: list[tuple[dict[str, Any], int]] = []
        try:
            self.torch = Torch(torch)
        except LookupError as reason:
            self.refusal = str(reason)

    # -- what the program's threads call: they count, ring a bell, or wait for ours to be gone before theirs begins

    def stepped(self) -> None:
        """An optimizer step ended."""
        self.updates += 1
        if self.running:
            self.mark()

    def called(self) -> None:
        """A top-level module call begins: the step of a program without an optimizer."""
        if self.running and not self.updates:
            self.mark()

    def mark(self) -> None:
        self.marks.append(time.monotonic_ns())
        if len(self.marks) == self.left:
            self.ring()

    def ring(self) -> None:
        if self.bell.locked():
            try:
                self.bell.release()
            except RuntimeError:
                return  # another thread rang in between

    def watch_theirs(self) -> None:
        """From now on a profiler of the program's own has the way."""
        self.torch.take_doors()
        for owner in (
            sys.modules.get("torch.autograd.profiler"),
            self.torch.autograd,
            sys.modules.get("torch.autograd"),
        ):
            for name in ("_prepare_profiler", "_enable_profiler"):
                if name in vars(owner):
                    self.probe.swap(owner, name, self.giving_way(vars(owner)[name]))
            if "_disable_profiler" in vars(owner):
                self.probe.swap(owner, "_disable_profiler", self.over_after(vars(owner)["_disable_profiler"]))

    def giving_way(self, original: "Callable[..., Any]") -> Any:
        def theirs_begins(*args: Any, **kwargs: Any) -> Any:
            if self.probe.pid == os.getpid():
                self.theirs.add(get_ident())
                until = time.monotonic() + THEIRS_WAIT_S
                while self.on and time.monotonic() < until:
                    self.hurried = True
                    self.ring()
                    time.sleep(0.001)
            return original(*args, **kwargs)

        return theirs_begins

    def over_after(self, original: "Callable[..., Any]") -> Any:
        def theirs_ends(*args: Any, **kwargs: Any) -> Any:
            try:
                return original(*args, **kwargs)
            finally:
                self.theirs.discard(get_ident())
                if not self.torch.any_on():
                    self.theirs.clear()  # begun on one thread, ended on another

        return theirs_ends

    # -- what our own thread does

    def tick(self, now_ns: int) -> None:
        """Begin a window that was asked for, once no other profiler is in the way; hand over one that is over."""
        line = self.probe.line
        if line is None:
            return
        while self.done and line.hand_over(*self.done[0]):
            del self.done[0]
        if not line.asked or self.running:
            return
        self.asked_ns = self.asked_ns or now_ns
        reason = self.refusal or self.in_the_way()
        if reason is None:
            self.running, self.hurried = True, False
            self.settle(line)
            start_new_thread(self.take, ())
        elif self.refusal is None and now_ns - self.asked_ns < ASK_AGAIN_S * 1e9:
            return
        else:
            self.settle(line)
            self.done.append(({"refused": reason}, -1))

    def settle(self, line: "Line") -> None:
        line.asked -= 1
        self.asked_ns = 0

    def in_the_way(self) -> str | None:
        """Why no window can be taken now."""
        module = sys.modules.get("torch.autograd.profiler")
        if (
            self.theirs
            or getattr(module, "_is_profiler_enabled", False)
            or self.torch.any_on()
            or self.torch.state.value
        ):
            return "a profiler of the program's own is on: it is left alone"
        return "a profiler of the program's own is getting ready: it is left alone" if preparing() else None

    def take(self) -> None:
        """One window, on a thread of its own. A short trial tells how many events a second there are to come."""
        note: dict[str, Any] = {"refused": "the window broke off"}
        file = -1
        try:
            limit_s = self.wanted["seconds"]
            note, file = self.record(min(TRIAL_S, limit_s))
            events = note.get("bytes", 0) / BYTES_PER_EVENT
            if not note.get("whole") and file >= 0 and not self.hurried:
                took_s = max((note["end"] - note["begin"]) / 1e9, 1e-3)
                affordable_s = self.wanted["events"] / max(events / took_s, 1.0)
                if min(affordable_s, limit_s) > took_s:
                    os.close(file)
                    time.sleep(took_s)
                    note, file = self.record(min(affordable_s, limit_s), trial=note)
        except (RuntimeError, LookupError, OSError, TypeError, ValueError, AttributeError) as error:
            note, file = {"refused": f"torch's profiler failed: {error}".split("\n")[0]}, -1
            self.torch.tidy()
        finally:
            self.done.append((note, file))
            self.running = False

    def record(self, limit_s: float, trial: dict[str, Any] | None = None) -> tuple[dict[str, Any], int]:
        """Switch on, wait for the steps or the limit, switch off, save. (what to say of it, the memory file or -1)."""
        torch = self.torch
        clock = {"mono": time.monotonic_ns(), "real": time.time_ns()}
        self.left = NEVER
        self.on = True  # before the look: whoever begins after it waits for us
        try:
            reason = self.in_the_way()
            if reason is not None:
                return {"refused": reason}, -1
            state = torch.start()
            begin, self.marks = time.monotonic_ns(), []
            self.bell.acquire(False)
            self.left = self.wanted["steps"] + 1
            if not self.hurried:
                self.bell.acquire(True, limit_s)
            marks, end = list(self.marks), time.monotonic_ns()
            if torch.state.value != state:
                torch.tidy()
                return {"refused": "another profiler took the window's place"}, -1
            result = torch.ctypes.c_void_p()
            torch.disable(torch.ctypes.byref(result))
        finally:
            self.on = False
        off = time.monotonic_ns()
        file = os.memfd_create("perfscope", os.MFD_CLOEXEC)
        torch.save(result, file)
        torch.tidy()
        last, size = time.monotonic_ns(), os.fstat(file).st_size
        if not size:
            os.close(file)
            return {"refused": "torch's profiler gave no trace"}, -1
        note = {**clock, "first": trial["first"] if trial else clock["mono"], "begin": begin, "end": end, "off": off}
        note |= {"last": last, "steps": max(len(marks) - 1, 0), "whole": len(marks) >= self.left, "bytes": size}
        return note | {"hurried": self.hurried, "stall": stall_ns(self.marks, end, last)}, file

    def leave(self) -> None:
        """Before the probe goes: end the window. In a forked child there is only a copy of its callbacks: forget those."""
        if self.probe.pid != os.getpid():
            if self.on:
                self.torch.forget()
            return
        until = time.monotonic() + OURS_WAIT_S
        while self.running and time.monotonic() < until:
            self.hurried = True
            self.ring()
            time.sleep(0.01)
        while self.done:
            _, file = self.done.pop()
            if file >= 0:
                os.close(file)


def stall_ns(marks: list[int], end: int, last: int) -> int | None:
    """The longest step in which the window was being ended, less the middle one within it; None without steps."""
    marks = [*marks, last]
    gaps = [(after, after - before) for before, after in itertools.pairwise(marks)]
    ending = [gap for after, gap in gaps if after > end]
    within = sorted(gap for after, gap in gaps if after <= end)
    return max(max(ending) - within[len(within) // 2], 0) if ending and within else None


def preparing() -> bool:
    """Has the program a profiler that is prepared and not yet ended? Walks over all objects, once a window."""
    made = getattr(sys.modules.get("torch.autograd.profiler"), "profile", None)
    gc = sys.modules.get("gc")
    if made is None or gc is None:
        return False
    theirs = [one for one in gc.get_objects() if type(one) is made]
    return any(one.entered and one.kineto_results is None for one in theirs)
