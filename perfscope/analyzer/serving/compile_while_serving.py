"""An inference engine compiles kernels or code while requests wait.

What it means
    Triton, Inductor and similar compilers translate a kernel at its first call with new sizes or
    types. The engine's loop stops meanwhile, for some hundred milliseconds to minutes, and with it
    every request: first requests after the start, or requests of an unusual length, are slow.

How it is detected
    In the stacks of an attached engine: while it has requests, the thread that schedules them and
    calls the model is in a compiler for at least 3 % of its samples.

What to do
    Send requests of every kind before the engine gets traffic: short, long, in large batches, with
    each feature in use. Keep the compilers' caches (`TRITON_CACHE_DIR`, `TORCHINDUCTOR_CACHE_DIR`,
    `VLLM_CACHE_ROOT`) on a disk that survives a restart.

When it is wrong
    A recording that begins during the engine's warm-up contains the compilations of the warm-up,
    which are soon over.
"""

import msgspec

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import percent
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.serving.engine_finding_parts import (
    Loss,
    fact,
    missing_requests,
    request_finding,
    used_servers,
)
from perfscope.analyzer.serving.engine_host_work import COMPILERS, HostWork, engine_host_work
from perfscope.analyzer.serving.server_load import ServerLoad
from perfscope.traces.trace import Trace

ID = "compile-while-serving"

WARM_UP = Advice(
    "warm-up-before-traffic",
    "send requests of every length and kind before the engine gets traffic, and keep the compilers'"
    " caches",
    "engine-compiles-while-it-has-requests",
    "Stacks of the engine's loop are in a compiler while requests run or wait.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked: no requests, or the engine's stacks were not sampled."""
    unmet = missing_requests(trace, limits)
    if unmet is not None:
        return unmet
    if not any(load.samples.process >= 0 for load in used_servers(trace)):
        return Unmet("other", "only the engine's metrics were recorded")
    return None


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding on the engine whose loop compiles most."""
    cases = [
        (work.share, load, work)
        for load in used_servers(trace)
        for work in engine_host_work(trace, load)
        if work.kind == COMPILERS and work.is_engine_loop and work.share >= limits.worth_share
    ]
    if not cases:
        return None
    _, load, work = max(cases, key=lambda case: case[0])
    return compiler_finding(load, work, limits)


def compiler_finding(load: ServerLoad, work: HostWork, limits: Limits) -> Finding:
    """Return the finding on an engine that compiles."""
    share = percent(work.share)
    message = Message(
        f"Compiling while serving: the engine's loop compiles {share} of the time with requests",
        explanation=f"No request advances meanwhile. Most samples are in `{work.frame}`.",
    )
    finding = request_finding((ID, None), load, Loss(work.share), message, limits)
    seen = f"the engine's loop is in a compiler in {share} of its samples"
    return msgspec.structs.replace(
        finding,
        processes=[work.process],
        evidence=[fact(load, seen, work.share, "share")],
        actions=WARM_UP.given(True, seen),
    )


RULE = Rule(
    ID,
    not_applicable,
    detect,
    needs=("engine_metrics",),
    in_traces=False,
    color="host-bound",
    consequences=("host-bound-decode", "queueing/saturated", "prefill-interference"),
    advice=(WARM_UP,),
)
