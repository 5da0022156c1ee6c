"""Torch's profiler, switched on and off: through torch's Python doors, and where they are found
through exported C++ functions.

`Doors` ends a window by three functions called by ctypes, which lets go of the GIL; `GilDoors` is
for a torch that lacks one of them: it ends by torch's Python door, which holds the GIL about ten
microseconds an operator.
"""

import os
import sys
import time
from _thread import get_ident
from typing import Any

AUTOGRAD = "_ZN5torch8autograd8profiler"
DISABLE = AUTOGRAD + "15disableProfilerEv"
SAVE = AUTOGRAD + "14ProfilerResult4saveERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"
DESTROY = AUTOGRAD + "14ProfilerResultD1Ev"
ANY_ON = AUTOGRAD + "29isProfilerEnabledInMainThreadEv"
REMOVE = "_ZN5torch8profiler4impl17ProfilerStateBase14removeCallbackEv"
POP = "_ZN5torch8profiler4impl17ProfilerStateBase3popEb"
STATE = "_ZZN5torch8profiler4impl18GlobalStateManagerINS1_17ProfilerStateBaseEE9singletonEvE10singleton_"  # noqa: E501
BLOCKS = (
    "_ZZN5torch8profiler4impl19ThreadLocalSubqueue14TorchOpStorage10EventBlock"
    "INS1_21KinetoObserverContext5EventELm512EEC4EvE8counter_"
)
OPERATORS_PER_BLOCK = 512
SEVERITY = "_ZN9libkineto6Logger14severityLevel_E"
API = "_ZN9libkineto3apiEv"
REGISTRAR_AT = 24
"""Where `api()` keeps the thread that loaded torch: behind a reference to the configuration, the
proxy and the client.
"""
PROXY = "_ZN9libkineto21ActivityProfilerProxy8isActiveEv"
PROXY_TABLE = "_ZTVN9libkineto21ActivityProfilerProxyE"
# Where the proxy stands among the words of `api()`, its controller among those of the proxy, and
# the head of a table of virtual functions: held against PROXY_TABLE before anything is read.
PROXY_AT, CONTROLLER_AT, TABLE_HEAD = 8, 24, 16
LOADER = "_ZN9libkineto12ConfigLoader8instanceEv"
LOADER_STOP = "_ZN9libkineto12ConfigLoader10stopThreadEv"
LOW_32 = 0xFFFFFFFF
QUIET = 6
TRIM_BELOW_BYTES = 1 << 30
"""Anonymous memory of the process up to which freed pages are given back to the kernel: malloc_trim
visits every free page of the process under the allocator's locks, 120 ms were measured for a heap
of 1 GiB with holes, 390 ms for one of 4 GiB.
"""
OLDEST_TORCH = (2, 4)


def typed(function: Any, result: Any, *arguments: Any) -> Any:
    function.restype, function.argtypes = result, arguments
    return function


def mapped(path: str) -> bool:
    """Is the library at `path` one of those loaded? Opening another would bring a second torch
    in.
    """
    real = os.path.realpath(path)
    with open("/proc/self/maps") as maps:
        return any(line.rstrip().endswith(real) for line in maps)


def too_old(version: str) -> bool:
    """Return whether this torch is older than the oldest with which windows are tried; False for a
    version that is unclear.
    """
    try:
        major, minor = version.split(".")[:2]
        return (int(major), int(minor)) < OLDEST_TORCH
    except ValueError:
        return False


class GilDoors:
    """The doors of the torch that is loaded. Raises LookupError with the reason where not even
    these are there.
    """

    free = False

    def __init__(self, torch: Any, stacks: bool = False) -> None:
        ctypes = sys.modules.get("ctypes")
        self.torch = torch
        self.profiler: Any = getattr(torch._C, "_profiler", None)
        self.autograd: Any = getattr(torch._C, "_autograd", None)
        self.stacks = stacks
        if os.uname().machine != "x86_64":
            raise LookupError(
                "kernel windows are taken on x86-64 only: C++ functions are called by its"
                " conventions"
            )
        path = os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_cpu.so")
        self.version = getattr(torch, "__version__", "?")
        if too_old(str(self.version)):
            raise LookupError(
                "torch {} is too old for kernel windows, {}.{} is the oldest".format(
                    self.version, *OLDEST_TORCH
                )
            )
        if ctypes is None or self.profiler is None or self.autograd is None or not mapped(path):
            raise LookupError(
                f"this build of torch {self.version} has no profiler that can be reached"
            )
        self.ctypes = ctypes
        try:
            self.experimental = self.profiler._ExperimentalConfig(
                profile_all_threads=True, trace_only=True
            )
        except TypeError:
            raise LookupError(
                f"torch {self.version} cannot profile all threads at once (2.13 can)"
            ) from None
        self.library, pointer = ctypes.CDLL(path), ctypes.c_void_p
        # These two hold the GIL: no thread forks meanwhile, so that a child never finds the locks
        # inside them taken.
        held = ctypes.PyDLL(path)
        try:
            self.remove = typed(getattr(held, REMOVE), None, pointer)
            self.pop = typed(getattr(held, POP), pointer, pointer, ctypes.c_bool)
            self.state = pointer.in_dll(self.library, STATE)
            self.api = typed(getattr(self.library, API), pointer)()
            self.severity = ctypes.c_int.in_dll(self.library, SEVERITY)
        except (AttributeError, ValueError):
            raise LookupError(
                f"torch {self.version} does not let its profiler be ended safely"
            ) from None
        self.blocks = self.find_blocks()
        self.spoken = self.severity.value
        self.active, self.table, self.loader = self.find_proxy()
        self.registrar = self.find_registrar()
        self.threaded = True
        self.owners: list[int] = []
        self.recording: list[int] = []
        self.prepare_ns = self.enable_ns = 0
        self.with_device = False
        libc = ctypes.CDLL(None)
        self.give_back, self.trim = (
            typed(libc.free, None, pointer),
            getattr(libc, "malloc_trim", None),
        )

    def find_blocks(self) -> Any:
        """Return the counter of blocks of 512 operators that any session made since the process
        began; None without.
        """
        try:
            return self.ctypes.c_uint64.in_dll(self.library, BLOCKS)
        except ValueError:
            return None

    def find_registrar(self) -> Any:
        """Return the word of Kineto's `api()` that names the thread that loaded torch; None where
        the layout is not known.

        The layout is the known one when the first word is the configuration that the library itself
        returns, when no word of the proxy contradicts it, and when the word names a living thread.
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
        """(is one at work?, where its virtual functions stand, what ends Kineto's thread); (None,
        0, None) without.
        """
        ctypes, pointer = self.ctypes, self.ctypes.c_void_p
        try:
            table = ctypes.addressof(ctypes.c_char.in_dll(self.library, PROXY_TABLE)) + TABLE_HEAD
            active = typed(getattr(self.library, PROXY), ctypes.c_bool, pointer)
            loader = typed(getattr(self.library, LOADER), pointer)
            stop = typed(getattr(self.library, LOADER_STOP), None, pointer)
        except (AttributeError, ValueError):
            return None, 0, None
        self.configuration = loader
        return active, table, lambda: stop(loader())

    def proxy(self) -> int:
        """The address of Kineto's profiler once it is initialised, else 0."""
        word = self.ctypes.c_uint64.from_address
        at = word(self.api + PROXY_AT).value
        if not at or word(at).value != self.table or not word(at + CONTROLLER_AT).value:
            return 0
        return int(at)

    def initialized(self) -> bool | None:
        """Return whether Kineto was ever prepared in this process; None where this torch does not
        show it.
        """
        return None if not self.table else bool(self.proxy())

    def operators(self) -> int | None:
        """Return how many operators all sessions recorded so far, at most 512 per thread too many;
        None if unknown.
        """
        return None if self.blocks is None else int(self.blocks.value) * OPERATORS_PER_BLOCK

    def busy(self) -> bool | None:
        """Is any profiler on or prepared, of any thread? None where this torch does not tell."""
        if self.active is None or not self.table:
            return None
        at = self.proxy()
        return bool(at and self.active(at))

    def any_on(self) -> bool:
        """Is one on?"""
        return bool(self.busy())

    def take_doors(self) -> None:
        """The unpatched functions: ours must not give way to itself."""
        door = self.autograd
        self.prepare, self.enable, self.autograd_off = (
            door._prepare_profiler,
            door._enable_profiler,
            door._disable_profiler,
        )

    def start(self) -> int:
        """Switch it on for every thread, with shapes and memory; return what tells it from another.
        Raises LookupError.
        """
        door, slot = self.profiler, self.registrar
        asked = door.ProfilerConfig(
            door.ProfilerState.KINETO, True, True, self.stacks, False, False, self.experimental, ""
        )
        kinds = door.ProfilerActivity
        activities = {kinds.CPU, kinds.CUDA} if self.torch.cuda.is_initialized() else {kinds.CPU}
        if len(activities) > 1 and os.environ.get("TEARDOWN_CUPTI") == "1":
            # torch itself avoids it where there are CUDA graphs: they crash when CUPTI comes back
            # after being torn down
            raise LookupError(
                "TEARDOWN_CUPTI=1 is set in the process: CUDA graphs may crash after a window"
            )
        if slot is None and not self.severity.value:
            raise LookupError(
                "torch's profiler would write a line into the program's stderr when first started"
            )
        self.with_device = len(activities) > 1
        # Its first use starts a thread that waits for orders from a file or a daemon: that one goes
        # with the window
        self.threaded = (
            not self.table
            or bool(self.proxy())
            or any(one.startswith("KINETO_") for one in os.environ)
        )
        began = time.monotonic_ns()
        self.prepare_quietly(asked, activities)
        prepared = time.monotonic_ns()
        self.enable(asked, activities)
        self.prepare_ns, self.enable_ns = prepared - began, time.monotonic_ns() - prepared
        state = self.state.value
        if not state:  # not where this torch keeps it: then it can only be ended from this thread
            self.autograd_off()
            raise LookupError("this torch keeps its profiler where it cannot be ended safely")
        self.owners, self.recording = [state], [state]
        return int(state)

    def prepare_quietly(self, asked: Any, activities: Any) -> None:
        """Prepare Kineto while it is silent: without CUPTI it would write three lines into the
        program's stderr.

        Kineto asks to be initialized by the thread that loaded torch, and complains otherwise; what
        that does is the same.
        """
        slot, before = self.registrar, self.severity.value
        kept = slot.value if slot is not None else 0
        self.severity.value = QUIET
        try:
            if slot is not None:
                slot.value = get_ident() & LOW_32
            self.prepare(asked, activities)
        finally:
            if slot is not None:
                slot.value = kept
            # The first preparation sets the level itself; later ones leave it as it was before
            after = self.severity.value
            self.spoken = before if after == QUIET else after
            self.severity.value = QUIET

    def ours(self, state: int) -> bool:
        """Is the one that is on the one that `start` told of?"""
        return bool(self.state.value == state)

    def claim(self) -> bool:
        """Return whether the caller may end the session: the first one to ask, of our thread and a
        thread of the program's.
        """
        try:
            self.owners.pop()
        except IndexError:
            return False
        return True

    def stop_recording(self) -> None:
        """Take its callbacks out, once: no operator that begins from now on is recorded. It is
        still on.
        """
        try:
            state = self.recording.pop()
        except IndexError:
            return
        self.remove(state)

    def abandon(self) -> None:
        """Let go of the session without ending or saving it; after `claim`.

        Its memory is never freed: operators that are open, and threads inside a callback, still
        write there.
        """
        self.stop_recording()
        self.pop(self.ctypes.byref((self.ctypes.c_uint64 * 2)()), True)
        self.severity.value = self.spoken

    def forget_in_child(self) -> None:
        """In a forked child: take out the copy of our callbacks, and only ours, and let go of the
        copy of the session.
        """
        state = self.state.value
        if state:
            self.remove(state)
            self.pop(self.ctypes.byref((self.ctypes.c_uint64 * 2)()), True)
        self.severity.value = self.spoken

    def end(self) -> Any:
        """Switch it off, once no thread is inside a callback any more. Raises RuntimeError where
        none is on.
        """
        return self.autograd_off()

    def save(self, result: Any, file: int) -> None:
        """Write the trace into a file of ours, and give its memory back.

        Kineto writes to NAME.tmp and renames it; a zero byte behind the name ends it for the kernel
        before the `.tmp`.
        """
        result.save(f"/proc/self/fd/{file}\0")

    def tidy(self) -> None:
        """Set back the level of Kineto's messages, end the thread that came with it, and give back
        the freed memory.
        """
        self.severity.value = self.spoken
        if not self.threaded:
            self.loader()
            self.threaded = True
        if self.trim is not None and anonymous_bytes() < TRIM_BELOW_BYTES:
            self.trim(0)


def anonymous_bytes() -> int:
    """Return the resident anonymous memory of this process; very many where that is not shown."""
    with open("/proc/self/status") as status:
        lines = [line for line in status if line.startswith("RssAnon:")]
    return int(lines[0].split()[1]) << 10 if lines else TRIM_BELOW_BYTES


class Doors(GilDoors):
    """The same, ended without the GIL. Raises LookupError with the reason where a function is
    missing.
    """

    free = True

    def __init__(self, torch: Any) -> None:
        super().__init__(torch)
        library, pointer = self.library, self.ctypes.c_void_p
        try:
            self.disable = typed(getattr(library, DISABLE), pointer, pointer)
            self.write = typed(getattr(library, SAVE), None, pointer, pointer)
            self.destroy = typed(getattr(library, DESTROY), None, pointer)
            self.main_on = typed(getattr(library, ANY_ON), self.ctypes.c_bool)
        except (AttributeError, ValueError):
            raise LookupError(
                f"torch {self.version} has no way to end a window without the GIL"
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
            self.give_back(result)


def doors(torch: Any, stacks: bool) -> GilDoors:
    """The best there are. Python stacks are put together under the GIL, so a window with them is
    ended with it.
    """
    if not stacks:
        try:
            return Doors(torch)
        except LookupError:
            pass
    return GilDoors(torch, stacks)
