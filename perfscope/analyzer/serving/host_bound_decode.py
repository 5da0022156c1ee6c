"""The device waits for the CPU between decode steps.

What it means
    Before each step the engine's process schedules requests, prepares the inputs and launches the
    work. Where it lacks CPU time, each token takes as long as that preparation, and a faster device
    changes nothing.

How it is detected
    In an attached engine: the kernel throttles its cgroup for at least 5 % of the time, or, on a
    host with a device, one of its threads is runnable without a core for at least 10 % of the time.
    By the stacks of its threads: the loop that schedules requests spends at least 20 % of its time
    on grammars, the tokenizer, images, video or audio; or another thread, such as that of the API
    server, spends at least 80 % on them. In the metrics of SGLang: the device is idle for at least
    20 % of the engine's loop while requests run. Without any of these, the finding is reported as
    possible where few requests decode and a usual token takes longer than any current GPU needs to
    read its whole memory (0.1 s).

What to do
    Give the engine at least two cores per device, and one for the API server: raise the CPU limit
    of the container, or reserve the cores. Fit the number of threads (`OMP_NUM_THREADS`) to them.
    Work on grammars: send the same schema as the same text, so that the engine's cache has it. Work
    on inputs: more processes of the API server (vLLM: `--api-server-count`), or smaller inputs.

When it is wrong
    An engine that computes on a CPU is slower than any GPU: metrics alone do not say what it
    computes on. Pipeline parallelism adds up the steps of several devices.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, ms, percent, plural
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.resources.host_load import HostLoad, host_load
from perfscope.analyzer.run.table_access import manifest, table
from perfscope.analyzer.serving.batch_capacity import step_tokens
from perfscope.analyzer.serving.engine_finding_parts import (
    Loss,
    at_server,
    fact,
    missing_requests,
    request_finding,
    used_servers,
)
from perfscope.analyzer.serving.engine_host_work import COMPILERS, GRAMMARS, engine_host_work
from perfscope.analyzer.serving.server_load import ServerLoad, mean
from perfscope.traces.engine_metrics.meanings import Meaning
from perfscope.traces.trace import Trace

ID = "host-bound-decode"
NS_PER_S: Final = 1e9
MOST: Final = 0.95
"""The largest share of the time that a lack of CPU may cost."""
ENGINES_ON_CPU: Final = ("llama-cpp", "triton", "ray-serve")
"""Engines that usually or often compute on a CPU, or that run other models than language models."""
CORES_PER_ENGINE: Final = 2.0

RAISE_QUOTA = Advice(
    "raise-engine-quota",
    "raise the CPU limit of the engine's container",
    "engine-is-throttled",
    "The kernel throttles the engine's cgroup for at least 5 % of the time.",
)
RESERVE_CORES = Advice(
    "reserve-engine-cores",
    "reserve cores for the engine: at least two per device",
    "engine-thread-waits-for-core",
    "A thread of the engine is runnable without a core for at least 10 % of the time.",
)
REPEAT_SCHEMAS = Advice(
    "repeat-schemas",
    "send the same schema as the same text, so that the engine compiles each grammar once; use"
    " fewer and simpler schemas",
    "engine-works-on-grammars",
    "Stacks show that a thread of the engine works on grammars of structured output.",
)
MORE_API_SERVERS = Advice(
    "more-api-servers",
    "prepare inputs in more processes of the API server, or send smaller inputs",
    "api-server-prepares-inputs",
    "Stacks show that a thread outside of the engine's loop is always busy preparing inputs.",
)
CHECK_CPU = Advice(
    "attach-to-engine",
    "attach to the engine's process, which shows its threads, its quota and its kernels",
    "only-metrics-are-known",
    "Only the metrics page was recorded.",
)


@dataclass(frozen=True)
class HostCase:
    """Why the device of a server waits for the CPU, the share that costs, and what shows it."""

    load: ServerLoad
    loss: Loss
    headline: str
    explanation: str
    evidence: list[Evidence]
    actions: list[Action]
    caveat: str | None = None
    process: int | None = None
    """The process that shows it, None for the engine's front end."""


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding with the strongest evidence."""
    loads = used_servers(trace)
    cases = [attached_case(trace, loads, limits)]
    cases += [host_work_case(trace, load, limits) for load in loads]
    cases += [*(idle_device_case(load, limits) for load in loads)]
    cases += [slow_token_case(trace, load, limits) for load in loads]
    case = next((case for case in cases if case is not None), None)
    if case is None:
        return None
    message = Message(
        f"Host-bound decode: {case.headline}{at_server(case.load, loads)}",
        explanation=case.explanation,
        caveat=case.caveat,
    )
    finding = request_finding((ID, None), case.load, case.loss, message, limits)
    processes = finding.processes if case.process is None else [case.process]
    return msgspec.structs.replace(
        finding, evidence=case.evidence, actions=case.actions, processes=processes
    )


def attached_case(trace: Trace, loads: list[ServerLoad], limits: Limits) -> HostCase | None:
    """Return the case of an attached engine without enough CPU time."""
    load = next((each for each in loads if each.samples.process >= 0), None)
    if load is None or table(trace, "counters") is None or not load.mean_running:
        return None
    host = trace.fact(host_load)
    throttled = host.throttled_share or 0.0
    if throttled >= limits.throttled_share:
        return throttled_case(trace, load, host, throttled)
    # Where the engine computes on the CPU, its threads compete with each other for the cores.
    delay = max(host.thread_delay.values(), default=0.0)
    if delay < limits.run_delay_share or computes_on_cpu(trace, load):
        return None
    seen = f"a thread of the engine waits for a core {percent(delay)} of the time"
    used = f"the engine's processes use {plural(host.tree_cores or 0.0, 'core')}"
    return HostCase(
        load,
        Loss(min(delay, MOST)),
        f"the engine waits for a core {percent(delay)} of the time",
        f"Its threads want more cores than they get; {used}.",
        [fact(load, seen, delay, "share"), fact(load, used, host.tree_cores or 0.0, "cores")],
        RESERVE_CORES.given(True, seen),
    )


def throttled_case(trace: Trace, load: ServerLoad, host: HostLoad, throttled: float) -> HostCase:
    """Return the case of an engine whose cgroup has used up its CPU quota.

    Throttled time is summed over cores, so it costs at most what the quota keeps from the engine.
    """
    cores, used = manifest(trace).usable_cores, host.tree_cores or 0.0
    lost = min(throttled, MOST)
    if cores is not None and cores.affinity > used > 0.0:
        lost = min(lost, 1.0 - used / cores.affinity)
    quota = "" if host.cpu_quota is None else f" of {plural(host.cpu_quota, 'core')}"
    seen = f"{digits(throttled)} s throttled per second (summed over cores)"
    wanted = max(CORES_PER_ENGINE, 2.0 * (host.cpu_quota or 1.0))
    return HostCase(
        load,
        Loss(lost, has_ceiling=False),
        f"the CPU quota{quota} throttles the engine {percent(min(throttled, 1.0))} of the time",
        "The kernel stops the engine's processes until the next period, and with them every"
        " request.",
        [fact(load, seen, throttled, "s/s")],
        RAISE_QUOTA.given(True, seen, snippet=f"docker run --cpus {wanted:g} ..."),
    )


def host_work_case(trace: Trace, load: ServerLoad, limits: Limits) -> HostCase | None:
    """Return the case of an attached engine whose threads do other work on the CPU."""
    found = [work for work in engine_host_work(trace, load) if work.is_limiting(limits)]
    work = max(found, key=lambda each: each.share, default=None)
    if work is None or work.kind == COMPILERS:
        return None
    share = percent(work.share)
    thread = "the engine's loop" if work.is_engine_loop else "a thread of the engine"
    seen = f"{thread} works on {work.kind} in {share} of its samples"
    flag = "--api-server-count 4" if load.samples.engine.id == "vllm" else None
    of_inputs = not work.is_engine_loop and work.kind != GRAMMARS
    return HostCase(
        load,
        Loss(min(work.share, MOST), has_ceiling=work.is_engine_loop),
        f"{thread} works on {work.kind} {share} of the time",
        f"Most samples are in `{work.frame}`. "
        + (
            "No request advances meanwhile."
            if work.is_engine_loop
            else "It is one thread, and requests wait until it has time for them."
        ),
        [fact(load, seen, work.share, "share")],
        [
            *REPEAT_SCHEMAS.given(work.kind == GRAMMARS, seen),
            *MORE_API_SERVERS.given(of_inputs, seen, snippet=flag),
        ],
        process=work.process,
    )


def idle_device_case(load: ServerLoad, limits: Limits) -> HostCase | None:
    """Return the case of an engine that exports how busy its device is."""
    busy = load.samples.gauge(Meaning.DEVICE_BUSY)
    if busy is None or not load.mean_running:
        return None
    share = mean(busy[load.running > 0])
    if share is None or share > 1.0 or 1.0 - share < limits.critical_share:
        return None
    idle = 1.0 - share
    return HostCase(
        load,
        Loss(idle),
        f"the device is idle {percent(idle)} of the engine's loop while requests run",
        "The scheduler prepares the next step too slowly.",
        [fact(load, f"device busy {percent(share)} of the loop", share, "share")],
        CHECK_CPU.given(load.samples.process < 0, "the process is not part of the recording"),
    )


def slow_token_case(trace: Trace, load: ServerLoad, limits: Limits) -> HostCase | None:
    """Return the case that is only possible: tokens take longer than the memory of any GPU."""
    running = load.mean_running
    if not running or load.samples.engine.id in ENGINES_ON_CPU or computes_on_cpu(trace, load):
        return None
    tokens = step_tokens(load)
    if tokens is not None and tokens > limits.decode_tokens * running:
        return None
    for meaning in (Meaning.ITL, Meaning.TOKEN_TIME):
        histogram = load.samples.histogram(meaning)
        median = None if histogram is None else histogram.quantile(0.5)
        if median is not None:
            break
    else:
        return None
    if median.low < limits.memory_read_s:
        return None
    usual = ms(median.low * NS_PER_S)
    return HostCase(
        load,
        Loss(1.0 - limits.memory_read_s / median.low, is_only_possible=True),
        f"possible, half of the tokens take more than {usual}",
        f"{plural(running, 'request')} run. A current GPU reads its whole memory in less than"
        f" {ms(limits.memory_read_s * NS_PER_S)}, and a decode step with so few tokens needs no"
        " longer.",
        [fact(load, f"half of the tokens take more than {usual}", median.low * 1e3, "ms")],
        CHECK_CPU.given(load.samples.process < 0, "the process is not part of the recording"),
        caveat="It is the usual speed of an engine that computes on a CPU. Attach to its process.",
    )


def computes_on_cpu(trace: Trace, load: ServerLoad) -> bool:
    """Return whether an attached engine has no device on its host."""
    return load.samples.process >= 0 and not manifest(trace).devices


RULE = Rule(
    ID,
    missing_requests,
    detect,
    needs=("engine_metrics",),
    in_traces=False,
    color="host-bound",
    advice=(RAISE_QUOTA, RESERVE_CORES, REPEAT_SCHEMAS, MORE_API_SERVERS, CHECK_CPU),
)
