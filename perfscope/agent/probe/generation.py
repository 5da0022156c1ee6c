"""Times the calls of `generate` of Hugging Face transformers: prefill, then a step per token.

Whatever its strategy, `generate` asks `_has_unfinished_sequences` once before each step. The
second answer follows the first token, and each later one the next token. Nothing of a prompt or an
answer is read but shapes. As with the hooks on optimizers, the patches are removed while something
is compiled, and are not put in where a compiled function is part of `generate`.
"""

import itertools
import sys
import time
from _thread import get_ident, get_native_id
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.core import InstalledProbe

MODULES: "dict[str, Any]" = globals().get("MODULES", {})  # the probe's other files, set before

MODULE = "transformers.generation.utils"
GENERATE, CHECK, UPDATE = (
    "generate",
    "_has_unfinished_sequences",
    "_update_model_kwargs_for_generation",
)
PROMPTS = ("inputs", "input_ids", "inputs_embeds")
CACHES = ("past_key_values", "cache")
BY_GENERATE = 2
WHOLE = 1
UNKNOWN = -1
# Layers of a cache that are measured; the rest is taken to be alike.
MOST_LAYERS = 8


def install(probe: "InstalledProbe") -> None:
    """Time calls from now on, also where the program imports transformers later."""
    torch = sys.modules.get("torch")
    if torch is None or MODULES["process_state"].in_worker():
        return
    is_undisturbed = MODULES["batch_padding"].check_of_modes(torch)
    if is_undisturbed is None:
        return
    calls = GenerateCalls(probe, torch.Tensor, is_undisturbed)
    probe.compilation.before_compiling.append(calls.remove)
    calls.tick(0)
    probe.ticks.append(calls.tick)


class OpenCall:
    """A call of `generate` that is under way; `epoch` is that of the patches at its begin."""

    __slots__ = (
        "began_ns",
        "checks",
        "epoch",
        "first_ns",
        "kv_bytes",
        "last_ns",
        "number",
        "prompt",
        "rows",
        "tid",
    )

    def __init__(self, number: int, epoch: int, shape: "tuple[int, int]") -> None:
        self.number, self.epoch, self.tid = number, epoch, get_native_id()
        self.rows, self.prompt = shape
        self.checks, self.kv_bytes = 0, UNKNOWN
        self.first_ns = self.last_ns = UNKNOWN
        self.began_ns = time.monotonic_ns()


class GenerateCalls:
    """The calls of one process, by the thread that makes them."""

    def __init__(
        self, probe: "InstalledProbe", tensor: Any, is_undisturbed: "Callable[[], bool]"
    ) -> None:
        self.probe, self.tensor, self.is_undisturbed = probe, tensor, is_undisturbed
        self.numbers = itertools.count()
        self.open: dict[int, OpenCall] = {}
        self.placed: list[Any] = []
        self.epoch = 0
        self.is_compiled = False

    def tick(self, now_ns: int) -> None:
        if not self.placed and self.is_allowed(now_ns):
            self.put_in()

    def is_allowed(self, now_ns: int) -> bool:
        """Return whether the patches can be put in now without causing a recompilation."""
        owner = getattr(MODULES["imported_modules"].imported(MODULE), "GenerationMixin", None)
        if owner is None or GENERATE not in vars(owner) or CHECK not in vars(owner):
            return False
        compilation = self.probe.compilation
        if not compilation.in_use:
            return True
        if self.is_compiled or not compilation.has_callbacks() or not compilation.is_quiet(now_ns):
            return False
        self.is_compiled = not MODULES["compilation"].no_code_reads(MODULE)
        return not self.is_compiled

    def put_in(self) -> None:
        owner, nothing = sys.modules[MODULE].GenerationMixin, MODULES["guard"].do_nothing
        for name, begin, end in (
            (CHECK, self.open_call, self.end_check),
            (UPDATE, self.begin_update, nothing),
            (GENERATE, self.begin_call, self.end_call),
        ):
            original = vars(owner).get(name)
            if original is None:
                continue
            patch = self.probe.patches.put(owner, name, self.probe.wrap(original, begin, end))
            if patch is not None:
                self.placed.append(patch)
        if self.probe.compilation.compiling:  # began meanwhile, in another thread
            self.remove()

    def remove(self) -> None:
        self.epoch += 1
        while self.placed:
            self.probe.patches.remove(self.placed.pop())

    # Calls of the program

    def begin_call(self, args: Any, kwargs: Any) -> "OpenCall | None":
        """Begin a request, unless another call of this thread makes this one."""
        thread = get_ident()
        if thread in self.open:
            return None
        call = OpenCall(next(self.numbers), self.epoch, self.shape_of_prompt(args, kwargs))
        self.open[thread] = call
        self.put("REQUEST_BEGIN", (call.tid, call.began_ns, 0), (call.number, BY_GENERATE))
        return call

    def end_call(self, call: OpenCall, args: Any, answer: Any, raised: Any) -> None:
        now_ns = time.monotonic_ns()
        self.open.pop(get_ident(), None)
        if not self.probe.live[0]:
            return  # its last tokens were not seen
        is_known = call.epoch == self.epoch and call.checks > 1
        tokens = (call.checks - 1) * max(call.rows, 1) if is_known else UNKNOWN
        first_ns = call.first_ns - call.began_ns if is_known else UNKNOWN
        place = (call.tid, call.began_ns, now_ns - call.began_ns)
        failed = int(raised is not None)
        ended = (call.number, first_ns, tokens, failed, WHOLE, get_native_id(), BY_GENERATE)
        self.put("REQUEST", place, ended)
        self.put("GENERATION", place, (call.number, call.rows, call.prompt, call.kv_bytes))

    def open_call(self, args: Any, kwargs: Any) -> "OpenCall | None":
        """Return the call that this thread is in, None where it began before the probe."""
        return self.open.get(get_ident())

    def end_check(self, call: OpenCall, args: Any, answer: Any, raised: Any) -> None:
        """Note that a token is ready: the loop asks whether more are wanted."""
        now_ns = time.monotonic_ns()
        call.checks += 1
        if call.checks == 2:
            call.first_ns = now_ns
        elif call.checks > 2 and call.epoch == self.epoch:
            place = (get_native_id(), call.last_ns, now_ns - call.last_ns)
            self.put("REQUEST_TOKENS", place, (call.number, 1, BY_GENERATE))
        call.last_ns = now_ns

    def begin_update(self, args: Any, kwargs: Any) -> None:
        """Measure the cache after the prefill."""
        call = self.open.get(get_ident())
        if call is None or call.kv_bytes >= 0 or call.checks > 1:
            return
        call.kv_bytes = 0
        if len(args) > 1 and self.is_undisturbed():
            call.kv_bytes = self.bytes_of_cache(args[1])

    # What is looked at

    def shape_of_prompt(self, args: Any, kwargs: Any) -> "tuple[int, int]":
        """Return rows and width of the prompt, UNKNOWN where it is not a tensor."""
        prompts = [*args[1:2], *(kwargs.get(name) for name in PROMPTS)]
        prompt = next((each for each in prompts if type(each) is self.tensor), None)
        if prompt is None or not self.is_undisturbed() or prompt.dim() < 2:
            return UNKNOWN, UNKNOWN
        rows, width = tuple(prompt.shape)[:2]
        return int(rows), int(width)

    def bytes_of_cache(self, outputs: Any) -> int:
        """Return the size of the KV cache in the outputs of a step, UNKNOWN without one."""
        if not issubclass(type(outputs), dict):
            return UNKNOWN
        named = (dict.get(outputs, name) for name in CACHES)
        cache = next((each for each in named if each is not None), None)
        layers = MODULES["loader"].attribute_of(cache, "layers")
        if type(layers) is not list or not layers:
            return UNKNOWN
        sizes = [self.bytes_of_layer(layer) for layer in layers[:MOST_LAYERS]]
        return int(sum(sizes) * len(layers) / len(sizes))

    def bytes_of_layer(self, layer: Any) -> int:
        """Return the size of keys and values of a layer."""
        attribute_of = MODULES["loader"].attribute_of
        pair = [attribute_of(layer, name) for name in ("keys", "values")]
        return sum(
            int(each.numel() * each.element_size()) for each in pair if type(each) is self.tensor
        )

    def put(self, kind: str, place: "tuple[int, int, int]", values: "tuple[int, ...]") -> None:
        unused = (UNKNOWN,) * (8 - len(values))
        self.probe.records.append((self.probe.kinds[kind], *place, *values, *unused))
