"""Starting and ending torch's profiler, by torch's Python functions and, where the library exports
them, by C++ functions.

`ProfilerApi` ends a window by three functions called through ctypes, which releases the GIL.
`GilProfilerApi` is for a torch that lacks one of them: it ends a window by torch's Python function,
which holds the GIL for about ten microseconds per operator.
"""

import os
import sys
import time
from _thread import get_ident
from typing import Any

MODULES: "dict[str, Any]" = globals().get("MODULES", {})  # the probe's other files, set before

AUTOGRAD = "_ZN5torch8autograd8profiler"
DISABLE = AUTOGRAD + "15disableProfilerEv"
SAVE = AUTOGRAD + "14ProfilerResult4saveERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"
DESTROY = AUTOGRAD + "14ProfilerResultD1Ev"
ANY_ON = AUTOGRAD + "29isProfilerEnabledInMainThreadEv"
REMOVE = "_ZN5torch8profiler4impl17ProfilerStateBase14removeCallbackEv"
POP = "_ZN5torch8profiler4impl17ProfilerStateBase3popEb"
STATE = (
    "_ZZN5torch8profiler4impl18GlobalStateManagerINS1_17ProfilerStateBaseEE"
    "9singletonEvE10singleton_"
)
BLOCKS = (
    "_ZZN5torch8profiler4impl19ThreadLocalSubqueue14TorchOpStorage10EventBlock"
    "INS1_21KinetoObserverContext5EventELm512EEC4EvE8counter_"
)
OPERATORS_PER_BLOCK = 512
SEVERITY = "_ZN9libkineto6Logger14severityLevel_E"
API = "_ZN9libkineto3apiEv"
# Where `api()` keeps the thread that loaded torch: after a reference to the configuration, the
# proxy and the client.
REGISTRAR_AT = 24
PROXY = "_ZN9libkineto21ActivityProfilerProxy8isActiveEv"
PROXY_TABLE = "_ZTVN9libkineto21ActivityProfilerProxyE"
# Where `api()` keeps the proxy, where the proxy keeps its controller, and the size of the head of a
# table of virtual functions. The table is compared with PROXY_TABLE before anything is read.
PROXY_AT, CONTROLLER_AT, TABLE_HEAD = 8, 24, 16
LOADER = "_ZN9libkineto12ConfigLoader8instanceEv"
LOADER_STOP = "_ZN9libkineto12ConfigLoader10stopThreadEv"
LOW_32 = 0xFFFFFFFF
QUIET = 6
# Up to this much anonymous memory of the process, freed pages are returned to the kernel.
# malloc_trim goes through all free pages of the process with the allocator locked: 120 ms were
# measured for a heap of 1 GiB with holes, 390 ms for one of 4 GiB.
TRIM_BELOW_BYTES = 1 << 30
OLDEST_TORCH = (2, 4)


def with_types(function: Any, result: Any, *arguments: Any) -> Any:
    """Return a ctypes function with its types set."""
    function.restype, function.argtypes = result, arguments
    return function


def is_mapped(path: str) -> bool:
    """Return whether the library at `path` is loaded; opening another would load a second torch."""
    real = os.path.realpath(path)
    with open("/proc/self/maps", errors="surrogateescape", newline="\n") as maps:
        return any(line.rstrip().endswith(real) for line in maps)


def too_old(version: str) -> bool:
    """Return whether this torch is older than OLDEST_TORCH; False if the version is unclear."""
    try:
        major, minor = version.split(".")[:2]
        return (int(major), int(minor)) < OLDEST_TORCH
    except ValueError:
        return False


class GilProfilerApi:
    """The profiler of the loaded torch, ended with the GIL held.

    Raises LookupError with the reason if this torch cannot be profiled safely.
    """

    free = False
    """Whether the profiler is ended without the GIL."""

    def __init__(self, torch: Any, stacks: bool = False) -> None:
        ctypes = sys.modules.get("ctypes")
        self.torch = torch
        self.profiler: Any = getattr(torch._C, "_profiler", None)
        self.autograd: Any = getattr(torch._C, "_autograd", None)
        self.stacks = stacks
        self.version = getattr(torch, "__version__", "?")
        path = os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_cpu.so")
        self.refuse_platform()
        if ctypes is None or self.profiler is None or self.autograd is None or not is_mapped(path):
            raise LookupError(f"this build of torch {self.version} has no usable profiler")
        self.ctypes = ctypes
        self.experimental = self.all_threads_config()
        self.library, pointer = ctypes.CDLL(path), ctypes.c_void_p
        # These two hold the GIL, so that no Python thread forks meanwhile: a child would find the
        # locks inside them taken.
        with_gil = ctypes.PyDLL(path)
        try:
            self.remove = with_types(getattr(with_gil, REMOVE), None, pointer)
            self.pop = with_types(getattr(with_gil, POP), pointer, pointer, ctypes.c_bool)
            self.state = pointer.in_dll(self.library, STATE)
            self.api = with_types(getattr(self.library, API), pointer)()
            self.severity = ctypes.c_int.in_dll(self.library, SEVERITY)
        except (AttributeError, ValueError):
            raise LookupError(
                f"perfscope cannot end the profiler of torch {self.version} safely"
            ) from None
        self.blocks = self.find_blocks()
        self.usual_severity = self.severity.value
        self.active, self.table, self.loader = self.find_proxy()
        self.registrar = self.find_registrar()
        self.keeps_thread = True
        self.owners: list[int] = []
        self.recording: list[int] = []
        self.prepare_ns = self.enable_ns = 0
        self.with_device = False
        libc = ctypes.CDLL(None)
        self.free_memory = with_types(libc.free, None, pointer)
        self.trim = getattr(libc, "malloc_trim", None)

    def refuse_platform(self) -> None:
        """Raise LookupError for another machine than x86-64 and for an old torch."""
        if os.uname().machine != "x86_64":
            raise LookupError("profiling windows work on x86-64 only")
        if too_old(str(self.version)):
            oldest = ".".join(map(str, OLDEST_TORCH))
            raise LookupError(
                f"torch {self.version} is too old for profiling windows: use {oldest} or newer"
            )

    def all_threads_config(self) -> Any:
        """Return the setting to profile all threads. Raises LookupError if torch has none."""
        try:
            return self.profiler._ExperimentalConfig(profile_all_threads=True, trace_only=True)
        except TypeError:
            raise LookupError(
                f"torch {self.version} cannot profile all threads at once (2.13 can)"
            ) from None

    def find_blocks(self) -> Any:
        """Return the counter of blocks of 512 operators made by all sessions, None if not found."""
        try:
            return self.ctypes.c_uint64.in_dll(self.library, BLOCKS)
        except ValueError:
            return None

    def find_registrar(self) -> Any:
        """Return the word of Kineto's `api()` that holds the thread that loaded torch.

        Returns None if the layout is unknown. It is known if the first word is the configuration
        that the library returns, the words of the proxy fit, and the word is a living thread.
        """
        word, place = self.ctypes.c_uint64.from_address, self.api + REGISTRAR_AT
        if self.loader is None or word(self.api).value != self.configuration():
            return None
        proxy = word(self.api + PROXY_AT).value
        if proxy and word(proxy).value != self.table:
            return None
        registrar = self.ctypes.c_uint32.from_address(place)
        living = {ident & LOW_32 for ident in getattr(sys.modules.get("threading"), "_active", {})}
        return registrar if registrar.value in living else None

    def find_proxy(self) -> tuple[Any, int, Any]:
        """Return functions of Kineto: (is a proxy active?, its table's address, end the thread).

        Returns (None, 0, None) if the library does not export them.
        """
        ctypes, pointer = self.ctypes, self.ctypes.c_void_p
        try:
            table = ctypes.addressof(ctypes.c_char.in_dll(self.library, PROXY_TABLE)) + TABLE_HEAD
            active = with_types(getattr(self.library, PROXY), ctypes.c_bool, pointer)
            loader = with_types(getattr(self.library, LOADER), pointer)
            stop = with_types(getattr(self.library, LOADER_STOP), None, pointer)
        except (AttributeError, ValueError):
            return None, 0, None
        self.configuration = loader
        return active, table, lambda: stop(loader())

    def proxy(self) -> int:
        """Return the address of Kineto's profiler once it is initialized, else 0."""
        word = self.ctypes.c_uint64.from_address
        address = word(self.api + PROXY_AT).value
        if not address or word(address).value != self.table:
            return 0
        return int(address) if word(address + CONTROLLER_AT).value else 0

    def initialized(self) -> bool | None:
        """Return whether Kineto was ever prepared in this process, None if unknown."""
        return None if not self.table else bool(self.proxy())

    def operators(self) -> int | None:
        """Return how many operators all sessions recorded so far, None if unknown.

        The number is at most 512 per thread too high.
        """
        return None if self.blocks is None else int(self.blocks.value) * OPERATORS_PER_BLOCK

    def busy(self) -> bool | None:
        """Return whether any profiler of any thread is on or prepared, None if unknown."""
        if self.active is None or not self.table:
            return None
        address = self.proxy()
        return bool(address and self.active(address))

    def any_on(self) -> bool:
        """Return whether a profiler is known to be on."""
        return bool(self.busy())

    def take_functions(self) -> None:
        """Keep the unpatched functions, for our own windows."""
        self.prepare = self.autograd._prepare_profiler
        self.enable = self.autograd._enable_profiler
        self.autograd_off = self.autograd._disable_profiler

    def start(self) -> int:
        """Start a session of all threads, with shapes and memory; return its address.

        Raises LookupError.
        """
        profiler = self.profiler
        config = profiler.ProfilerConfig(
            profiler.ProfilerState.KINETO,
            True,  # shapes
            True,  # memory
            self.stacks,
            False,
            False,
            self.experimental,
            "",
        )
        activities = {profiler.ProfilerActivity.CPU}
        device_activity = MODULES["accelerator"].Accelerator(self.torch).activity()
        self.with_device = device_activity is not None
        if self.with_device:
            activities.add(device_activity)
        self.refuse_start()
        # The first use starts a thread that waits for orders from a file or a daemon. It is ended
        # with the window, unless it was there before or the user asked for it.
        wants_thread = any(name.startswith("KINETO_") for name in os.environ)
        self.keeps_thread = not self.table or bool(self.proxy()) or wants_thread
        began = time.monotonic_ns()
        self.prepare_quietly(config, activities)
        prepared = time.monotonic_ns()
        self.enable(config, activities)
        self.prepare_ns, self.enable_ns = prepared - began, time.monotonic_ns() - prepared
        state = self.state.value
        if not state:  # this torch keeps it elsewhere: then only this thread can end it
            self.autograd_off()
            raise LookupError("this torch keeps its profiler where it cannot be ended safely")
        self.owners, self.recording = [state], [state]
        return int(state)

    def refuse_start(self) -> None:
        """Raise LookupError if a session would disturb the program."""
        if self.with_device and os.environ.get("TEARDOWN_CUPTI") == "1":
            # torch avoids this too: CUDA graphs crash when CUPTI is loaded again after a teardown.
            raise LookupError(
                "TEARDOWN_CUPTI=1 is set in the process: CUDA graphs may crash after a window"
            )
        if self.registrar is None and not self.severity.value:
            raise LookupError("torch's profiler would write to the program's stderr when it starts")

    def prepare_quietly(self, config: Any, activities: Any) -> None:
        """Prepare Kineto with its messages off.

        Without CUPTI it would write three lines to the program's stderr. It also complains if
        another thread than the one that loaded torch initializes it, which makes no difference.
        """
        registrar, before = self.registrar, self.severity.value
        registered = registrar.value if registrar is not None else 0
        self.severity.value = QUIET
        try:
            if registrar is not None:
                registrar.value = get_ident() & LOW_32
            self.prepare(config, activities)
        finally:
            if registrar is not None:
                registrar.value = registered
            # The first preparation sets the level; later ones leave it as it is.
            after = self.severity.value
            self.usual_severity = before if after == QUIET else after
            self.severity.value = QUIET

    def is_on(self, state: int) -> bool:
        """Return whether the session that is on is the one with address `state`."""
        return bool(self.state.value == state)

    def claim(self) -> bool:
        """Return whether the caller may end the session.

        Both our thread and a thread of the program may try; only the first one may.
        """
        try:
            self.owners.pop()
        except IndexError:
            return False
        return True

    def stop_recording(self) -> None:
        """Remove the callbacks of our session, once; it stays on, but records no new operators."""
        try:
            state = self.recording.pop()
        except IndexError:
            return
        self.remove(state)

    def abandon(self) -> None:
        """Drop the session without ending or saving it; call `claim` before.

        Its memory is never freed: open operators, and threads inside a callback, still write to it.
        """
        self.stop_recording()
        self.pop_session()

    def drop_in_child(self) -> None:
        """Remove the copy of our callbacks and of our session from a forked child."""
        state = self.state.value
        if state:
            self.remove(state)
            self.pop_session()
        self.severity.value = self.usual_severity

    def pop_session(self) -> None:
        """Make torch forget the session of all threads, and restore Kineto's messages."""
        result = (self.ctypes.c_uint64 * 2)()
        self.pop(self.ctypes.byref(result), True)
        self.severity.value = self.usual_severity

    def end(self) -> Any:
        """End the session. No thread may be inside a callback.

        Raises RuntimeError if no session is on.
        """
        return self.autograd_off()

    def save(self, result: Any, file: int) -> None:
        """Write the trace into a memory file of ours, and free its memory.

        Kineto writes to NAME.tmp and renames it. A zero byte after the name ends it for the kernel
        before the `.tmp`.
        """
        result.save(f"/proc/self/fd/{file}\0")

    def restore_process(self) -> None:
        """Restore Kineto's messages, end the thread that it started, and return freed memory."""
        self.severity.value = self.usual_severity
        if not self.keeps_thread:
            self.loader()
            self.keeps_thread = True
        if self.trim is not None and anonymous_bytes() < TRIM_BELOW_BYTES:
            self.trim(0)


def anonymous_bytes() -> int:
    """Return the resident anonymous memory of this process; TRIM_BELOW_BYTES if unknown."""
    with open("/proc/self/status", errors="replace", newline="\n") as status:
        lines = [line for line in status if line.startswith("RssAnon:")]
    return int(lines[0].split()[1]) << 10 if lines else TRIM_BELOW_BYTES


class ProfilerApi(GilProfilerApi):
    """The profiler of the loaded torch, ended without the GIL.

    Raises LookupError with the reason if a function is missing.
    """

    free = True

    def __init__(self, torch: Any) -> None:
        super().__init__(torch)
        library, pointer = self.library, self.ctypes.c_void_p
        try:
            self.disable = with_types(getattr(library, DISABLE), pointer, pointer)
            self.write = with_types(getattr(library, SAVE), None, pointer, pointer)
            self.destroy = with_types(getattr(library, DESTROY), None, pointer)
            self.main_on = with_types(getattr(library, ANY_ON), self.ctypes.c_bool)
        except (AttributeError, ValueError):
            raise LookupError(
                f"torch {self.version} can end a window only with the GIL held"
            ) from None

    def busy(self) -> bool | None:
        return True if self.any_on() else super().busy()

    def any_on(self) -> bool:
        return bool(self.main_on() or self.state.value)

    def end(self) -> Any:
        result = self.ctypes.c_void_p()
        self.disable(self.ctypes.byref(result))
        return result

    def save(self, result: Any, file: int) -> None:
        ctypes = self.ctypes
        name = ctypes.create_string_buffer(b"/proc/self/fd/%d\0" % file)
        text = (ctypes.c_uint64 * 4)(ctypes.addressof(name), len(name.value) + 1, 0, 0)
        try:
            self.write(result, ctypes.addressof(text))
        finally:
            self.destroy(result)
            self.free_memory(result)


def profiler_api(torch: Any, stacks: bool) -> GilProfilerApi:
    """Return the best interface that this torch allows. Raises LookupError if there is none.

    Python stacks are assembled with the GIL held, so a window with stacks is ended that way.
    """
    if not stacks:
        try:
            return ProfilerApi(torch)
        except LookupError:
            pass
    return GilProfilerApi(torch, stacks)
