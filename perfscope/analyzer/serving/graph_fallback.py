"""Decode steps run without a CUDA graph, operator by operator.

What it means
    Engines capture the decode step as CUDA graphs for some batch sizes. A larger batch than the
    largest captured one is computed operator by operator, and every kernel is launched by the host:
    such a step takes several times as long, and the engine has two speeds.

How it is detected
    The engine's counter of forward passes by mode: at least 5 % of the decode passes ran without a
    graph. The loss is at most the time of those passes.

What to do
    Capture graphs for larger batches (`--cuda-graph-max-bs`), or limit the batch to the captured
    sizes (`--max-running-requests`). Remove `--disable-cuda-graph` if it is set.

When it is wrong
    Some features cannot run in a graph, and large batches gain little from one.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Action, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, percent
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.serving.engine_finding_parts import (
    Loss,
    at_server,
    fact,
    missing_requests,
    request_finding,
    used_servers,
)
from perfscope.analyzer.serving.server_load import ServerLoad, highest
from perfscope.traces.engine_metrics.meanings import Meaning
from perfscope.traces.trace import Trace

ID = "graph-fallback"
MODE: Final = "mode"
DECODE: Final = "decode"
GRAPH: Final = "graph"
"""Parts of the names of modes: `decode_cuda_graph`, `decode_none`."""

ENABLE_GRAPHS = Advice(
    "enable-cuda-graphs",
    "remove the option that turns CUDA graphs off",
    "graphs-are-disabled",
    "The engine's command line turns CUDA graphs off.",
)
LARGER_GRAPHS = Advice(
    "capture-larger-batches",
    "capture CUDA graphs for batches of this size",
    "batch-exceeds-captured-sizes",
    "The largest batch exceeds the largest captured one, where that is known, and graphs are not"
    " turned off.",
)


@dataclass(frozen=True)
class Fallback:
    """The decode passes of a server without a graph: their number and their share."""

    load: ServerLoad
    passes: float
    share: float


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked: no requests, or the engine counts no graph passes."""
    unmet = missing_requests(trace, limits)
    if unmet is None and all(decode_passes(load) == (0.0, 0.0) for load in used_servers(trace)):
        return Unmet("other", "the engine does not count the passes that run in a CUDA graph")
    return unmet


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding on the server with the most decode passes without a graph."""
    loads = used_servers(trace)
    cases = [fallback(load) for load in loads]
    worst = max(cases, key=lambda case: case.share, default=None)
    if worst is None or worst.share < limits.recoverable_share:
        return None
    load, share = worst.load, percent(worst.share)
    message = Message(
        f"Graph fallback: {share} of the decode passes run without a CUDA graph"
        f"{at_server(load, loads)}",
        explanation=(
            f"The batch has {digits(load.mean_running or 0.0)} requests on average and"
            f" {digits(highest(load.running))} at most; the host launches every kernel of these"
            " passes."
        ),
        caveat="What a graph would save is not known; it is at most the time of these passes.",
    )
    loss = Loss(worst.share, has_ceiling=False)
    finding = request_finding((ID, None), load, loss, message, limits)
    return msgspec.structs.replace(
        finding,
        evidence=[
            fact(
                load,
                f"{digits(worst.passes)} decode passes without a graph",
                worst.passes,
                "passes",
            ),
            fact(load, f"{share} of the decode passes", worst.share, "share"),
        ],
        actions=[*enable_graphs(load), *larger_graphs(load)],
    )


def decode_passes(load: ServerLoad) -> tuple[float, float]:
    """Return the decode passes in the recording: in a graph, and without one."""
    modes = load.samples.growth_by_label(Meaning.GRAPH_PASSES, MODE)
    decode = {mode: passes for mode, passes in modes.items() if DECODE in mode}
    graph = sum(passes for mode, passes in decode.items() if GRAPH in mode)
    return graph, sum(decode.values()) - graph


def fallback(load: ServerLoad) -> Fallback:
    """Return the decode passes of a server without a graph."""
    graph, without = decode_passes(load)
    whole = graph + without
    return Fallback(load, without, without / whole if whole > 0 else 0.0)


def are_graphs_off(load: ServerLoad) -> bool:
    """Return whether the command line turns graphs off."""
    return "no-graphs" in load.samples.settings


def enable_graphs(load: ServerLoad) -> list[Action]:
    """Return the advice to remove the option that turns graphs off."""
    flag, _ = load.samples.settings.get("no-graphs", ("", ""))
    return ENABLE_GRAPHS.given(are_graphs_off(load), flag, text=f"remove {flag}")


def larger_graphs(load: ServerLoad) -> list[Action]:
    """Return the advice to capture larger batches."""
    captured, most = load.samples.number_setting("graph-batch"), highest(load.running)
    is_larger = captured is None or most > captured
    known = "" if captured is None else f", captured up to {digits(captured)}"
    return LARGER_GRAPHS.given(
        is_larger and most > 0 and not are_graphs_off(load),
        f"a batch of {digits(most)}{known}",
        snippet=f"--cuda-graph-max-bs {int(most)}",
    )


RULE = Rule(
    ID,
    not_applicable,
    detect,
    needs=("engine_metrics",),
    in_traces=False,
    color="sync-wait",
    loss_is_upper_bound=True,
    advice=(ENABLE_GRAPHS, LARGER_GRAPHS),
)
