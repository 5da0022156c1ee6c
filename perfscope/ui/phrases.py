"""Short texts that every screen shares: the recorded program, its speed, and what a finding costs.

Nothing is computed here: the values are those of the diagnosis, formatted.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from perfscope.analyzer.diagnosis import (
    Diagnosis,
    Finding,
    ProcessBudget,
    Rate,
    Speedup,
    Verdict,
)
from perfscope.analyzer.number_text import as_clause, capitalized, digits, ms, percent, plural
from perfscope.analyzer.verdict.certainty import (
    is_uncertain,
    share_waiting_for_core,
    unexplained_share,
)
from perfscope.traces.engine_metrics.names import ENGINE
from perfscope.ui.budget_phrases import NS_PER_MS, NS_PER_S
from perfscope.ui.coverage import data_quality_text, readable_name
from perfscope.ui.request_phrases import requests_text

if TYPE_CHECKING:
    from perfscope.traces.trace import Trace

UNIT_NAMES = {"training-step": "step", "forward": "forward pass", "engine-iteration": "iteration"}
CLEAR_LEAD = 0.6
"""With less confidence in it, the resource with the largest share does not clearly lead."""
CLEAR_SHARE = 0.6
"""A resource with this share leads, however uncertain its share is."""
RESOURCE_OF_VERDICT = {
    "input-bound": "input",
    "launch-bound": "host",
    "compute-bound": "compute",
    "memory-bound": "memory-bandwidth",
}
"""The verdicts whose names say what bounds the run."""
RESOURCE_NAMES = {"admission": "the admission of requests"}
"""Resources whose name is not their id with spaces."""
NO_WORKERS = "no data-loader workers"
LARGEST_SPEEDUP_WITH_A_DECIMAL = 9.0
FEWEST_WITH_P95 = 5
"""Steps from which on their 95th percentile is shown."""
LONGEST_HEADLINE = 60
"""What fits in two lines of the largest type next to the first change."""


def describe_subject(trace: "Trace | None") -> list[str]:
    """Return the name of the recorded program, then its workers, cores and devices.

    For example `train.py (pid 41872)`, `2 data-loader workers`, `2 usable cores`.
    """
    processes = trace.table("processes") if trace is not None else None
    if trace is not None and processes is None:
        return served_engines(trace)
    if trace is None or processes is None:
        return []
    name = program_name(trace)
    if trace.is_profiler_trace:
        return [name, *device_names(trace)]
    from perfscope.analyzer.summary.recorded_processes import number_of_loader_workers

    workers = number_of_loader_workers(trace)
    worker_text = plural(workers, "data-loader worker") if workers else NO_WORKERS
    cores = [part.usable_cores.cores for part in trace.manifests if part.usable_cores is not None]
    core_text = [plural(sum(cores), "usable core")] if cores else []
    devices = [device.name for part in trace.manifests for device in part.devices]
    return [name, worker_text, *core_text, *(counted(devices) or ["no GPU"])]


def served_engines(trace: "Trace") -> list[str]:
    """Return `vLLM`, or `2 x vLLM`, for a recording of metrics without a process."""
    servers = trace.table("engine_servers")
    if servers is None:
        return []
    labels = [ENGINE[name].label for name in servers["engine"].astype(str) if name in ENGINE]
    return counted(labels)


def program_name(trace: "Trace") -> str:
    """Return `train.py (pid 41872)`, or `train.py (4 ranks on 2 hosts)`."""
    processes = trace.table("processes")
    assert processes is not None
    main = processes[processes["role"] == "main"]
    if not len(main):
        return f"pid {trace.manifest.target_pid}"
    name = str(main["name"].iloc[0])
    if len(main) == 1:
        return f"{name} (pid {int(main['pid'].iloc[0])})"
    hosts = {part.host for part in trace.manifests}
    on_hosts = f" on {len(hosts)} hosts" if len(hosts) > 1 else ""
    return f"{name} ({rank_count_text(trace, len(main))}{on_hosts})"


def rank_count_text(trace: "Trace", count: int) -> str:
    """Return `2 ranks`, or `3 processes, one after the other` where they do not overlap in time."""
    # Imported late: it needs pandas, which an answer from the cache is printed without.
    from perfscope.analyzer.run.ranks.local_ranks import mains_at_once

    at_once = count if trace.is_profiler_trace else trace.fact(mains_at_once)
    if at_once >= count:
        return f"{count} ranks"
    when = "one after the other" if at_once < 2 else f"at most {at_once} at a time"
    return f"{count} processes, {when}"


def device_names(trace: "Trace") -> list[str]:
    """Return `8 x NVIDIA H100`, or the number of accelerators where the trace has no names."""
    table = trace.table("devices")
    if table is None:
        return ["no accelerator in the trace"]
    if not table["name"].notna().any():
        return [plural(len(table), "accelerator")]
    names = table["name"].astype(object).where(table["name"].notna(), "unnamed accelerator")
    return counted([str(name) for name in names])


def counted(names: list[str]) -> list[str]:
    """Return each different name once, with its count where it occurs more often."""
    counts = {name: names.count(name) for name in names}
    return [name if count == 1 else f"{count} x {name}" for name, count in counts.items()]


def recording_text(diagnosis: Diagnosis) -> list[str]:
    """Return the steps and the rates of the recording that are known.

    For example `292 steady steps in 10.1 s`, `33.9 ms/step (p95 34.8 ms)`, `1,850 samples/s`.
    """
    steps = diagnosis.steps
    span = f"{digits(diagnosis.span_s)} s"
    requests = diagnosis.requests
    if requests is not None and (steps.mean_ms is None or not requests.is_by_metrics):
        return requests_text(diagnosis)
    if steps.mean_ms is None:
        return [f"no complete steps in {span}", *rate_texts(diagnosis)]
    unit = UNIT_NAMES.get(steps.unit, "step")
    p95_ms = shown_p95_ms(diagnosis)
    p95 = f" (p95 {ms(p95_ms * NS_PER_MS)})" if p95_ms is not None else ""
    mean = f"{ms(steps.mean_ms * NS_PER_MS)}{per_step(diagnosis)}{p95}"
    count = f"{plural(steps.count, f'steady {unit}')}{left_out_text(diagnosis)}"
    return [f"{count} in {span}", mean, *rate_texts(diagnosis)]


def recorded_text(diagnosis: Diagnosis) -> str:
    """Return what was recorded and for how long, without rates: `292 steady steps in 10.1 s`."""
    steps = diagnosis.steps
    first = recording_text(diagnosis)[0]
    return first.replace(left_out_text(diagnosis), "", 1) if steps.distorted else first


def shown_p95_ms(diagnosis: Diagnosis) -> float | None:
    """Return the 95th percentile of the steps; None for so few that it is the longest one."""
    steps = diagnosis.steps
    return steps.p95_ms if steps.count >= FEWEST_WITH_P95 else None


def left_out_text(diagnosis: Diagnosis) -> str:
    """Return ` (12 more in the profiling window)`, or nothing without such steps.

    Only their number in all processes is known, so it is not given next to the steps of one rank.
    """
    distorted = diagnosis.steps.distorted
    if not distorted:
        return ""
    if len({entry.process for entry in diagnosis.per_process}) > 1:
        return " (those in the profiling window left out)"
    return f" ({distorted} more in the profiling window)"


def rate_texts(diagnosis: Diagnosis) -> list[str]:
    """Return the known samples and tokens per second, and the known MFU."""
    rates = diagnosis.throughput
    found = []
    if rates.samples_per_s.value is not None:
        found.append(f"{digits(rates.samples_per_s.value)} samples/s")
    if rates.tokens_per_s.value is not None:
        found.append(f"{digits(rates.tokens_per_s.value)} tokens/s")
    if rates.mfu.value is not None:
        found.append(f"{percent(rates.mfu.value)} MFU")
    return found


def unknown_rates(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    """Return the name of each rate that is not known, and the reason."""
    rates: dict[str, Rate] = {
        "steps/s": diagnosis.throughput.steps_per_s,
        "samples/s": diagnosis.throughput.samples_per_s,
        "tokens/s": diagnosis.throughput.tokens_per_s,
        "MFU": diagnosis.throughput.mfu,
    }
    unknown = {name: rate for name, rate in rates.items() if rate.value is None}
    return [(name, rate.reason or "not known") for name, rate in unknown.items()]


def location_text(verdict: Verdict) -> str | None:
    """Return the line of code with the most samples of the verdict, None where unknown.

    Where a thread was at one line all the time, no samples were counted: the headline names it.
    """
    where = verdict.where
    if where is None or where.share.low >= 1.0:
        return None
    low, high = percent(where.share.low), percent(where.share.high)
    place = f"`{where.place}`"
    share = f"{percent(where.share.likely)} of the stack samples ({low} to {high})"
    return f"Hottest line: {place}, {share}."


def neutral_headline(diagnosis: Diagnosis) -> str | None:
    """Return the headline in place of a verdict that is only possible, None for a certain one."""
    unexplained = unexplained_share(diagnosis)
    if unexplained is not None:
        return f"No certain verdict: {percent(unexplained)} of the time is unexplained"
    if is_uncertain(diagnosis):
        return f"No certain verdict ({confidence_text(diagnosis.verdict.confidence)})"
    return None


def verdict_title(diagnosis: Diagnosis) -> str:
    """Return the headline of the verdict with its confidence."""
    verdict, neutral = diagnosis.verdict, neutral_headline(diagnosis)
    if neutral is not None or verdict.confidence <= 0:
        return neutral or verdict.headline
    return f"{verdict.headline} ({confidence_text(verdict.confidence)})"


def short_headline(diagnosis: Diagnosis) -> str:
    """Return the verdict in at most LONGEST_HEADLINE characters, where it is a finding.

    A longer headline is replaced by its part before a colon, or by what the finding costs where
    that part is only the name of the finding.
    """
    verdict, finding = diagnosis.verdict, verdict_finding(diagnosis)
    neutral = neutral_headline(diagnosis)
    if neutral is not None:
        return neutral
    if finding is None or len(verdict.headline) <= LONGEST_HEADLINE:
        return verdict.headline
    name, (head, colon, _) = readable_name(finding.id), verdict.headline.partition(": ")
    if colon and len(head) <= LONGEST_HEADLINE and head.lower() != name.lower():
        return head
    cost, share = current_cost(finding, diagnosis)
    return f"{capitalized(name)}: costs {share or cost}"


def verdict_texts(
    diagnosis: Diagnosis, shown_headline: str, *, has_place: bool = True
) -> list[str]:
    """Return the paragraphs under the headline that is shown: what was seen, then the caveats.

    An uncertain verdict says what is only possible; where more of the time is unexplained, it
    begins with that time. `has_place`: the line of code is among them.
    """
    verdict = diagnosis.verdict
    place = location_text(verdict) if has_place else None
    texts = [claim_text(diagnosis, shown_headline), place, verdict.caveat]
    if is_uncertain(diagnosis):
        unexplained, caveat = divided_caveat(diagnosis)
        possible = f"Possible: {as_clause(verdict.headline)}. {verdict.explanation}"
        texts = [unexplained, possible, place, caveat]
    return [text for text in (*texts, data_quality_text(diagnosis)) if text]


def claim_text(diagnosis: Diagnosis, shown_headline: str) -> str:
    """Return the explanation, after the verdict's headline where another one is shown.

    The name of the verdict is not repeated.
    """
    verdict = diagnosis.verdict
    if shown_headline.startswith(verdict.headline):
        return verdict.explanation
    name, _, claim = verdict.headline.partition(": ")
    is_named = bool(claim) and shown_headline.partition(":")[0] == name
    return f"{capitalized(claim) if is_named else verdict.headline}. {verdict.explanation}"


def divided_caveat(diagnosis: Diagnosis) -> tuple[str, str]:
    """Return the part of the caveat on unexplained time, "" without any, and the caveats of the
    finding that follow it.
    """
    caveat, finding = diagnosis.verdict.caveat or "", verdict_finding(diagnosis)
    if unexplained_share(diagnosis) is None:
        return "", caveat
    of_finding = "" if finding is None else finding.caveat or ""
    if not of_finding:
        return caveat, ""
    seen, found, rest = caveat.partition(of_finding)
    return seen.strip(), found + rest


def bound_by_text(diagnosis: Diagnosis, *, has_confidence: bool = True) -> str:
    """Return `input, 78 % of step time (confidence 0.93)`, with the confidence of `bound_by`.

    It is left out where resource, share and confidence repeat the verdict's, and where not wanted.
    Where no resource clearly leads, or the verdict is about the time of another resource, the text
    says that this is the largest part, so that it does not seem to contradict the verdict. Shares
    that differ from those of the time budget are explained.
    """
    bound = diagnosis.bound_by
    if bound.id == "unknown":
        return "unknown"
    name = RESOURCE_NAMES.get(bound.id, bound.id.replace("-", " "))
    if bound.confidence < CLEAR_LEAD and (bound.share or 0.0) < CLEAR_SHARE:
        name = f"no single resource; the largest part is {name}"
    elif names_other_resource(diagnosis):
        name = f"{name} for the largest part"
    share = f", {percent(bound.share)} {scope_of_budget(diagnosis)}" if bound.share else ""
    if share and share_waiting_for_core(diagnosis) is not None:
        share += ", where waits for a core count as host"
    if repeats_verdict(diagnosis) or not has_confidence:
        return f"{name}{share}"
    return f"{name}{share} ({confidence_text(bound.confidence)})"


def names_other_resource(diagnosis: Diagnosis) -> bool:
    """Return whether `bound_by` is another resource than the one that the verdict's name says."""
    bound = diagnosis.bound_by.id
    return RESOURCE_OF_VERDICT.get(diagnosis.verdict.id, bound) != bound


def repeats_verdict(diagnosis: Diagnosis) -> bool:
    """Return whether `bound_by` names the resource, share and confidence of the verdict."""
    bound, verdict, finding = diagnosis.bound_by, diagnosis.verdict, verdict_finding(diagnosis)
    if finding is None or bound.share is None:
        return False
    return (
        RESOURCE_OF_VERDICT.get(verdict.id) == bound.id
        and percent(finding.share) == percent(bound.share)
        and confidence_text(verdict.confidence) == confidence_text(bound.confidence)
    )


def confidence_text(confidence: float) -> str:
    """Return `confidence 0.93`."""
    return f"confidence {confidence:.2f}"


def scope_of_budget(diagnosis: Diagnosis) -> str:
    """Return the time that the shares of the time budget are parts of."""
    if diagnosis.budget_over != "steps":
        return "of the recording"
    unit = UNIT_NAMES.get(diagnosis.steps.unit, "step")
    return "of step time" if unit == "step" else f"of each {unit}"


def per_step(diagnosis: Diagnosis) -> str:
    """Return `/step`, or `/pass` for forward passes."""
    return f"/{UNIT_NAMES.get(diagnosis.steps.unit, 'step').split()[-1]}"


def mean_step_ms(diagnosis: Diagnosis) -> float | None:
    """Return the mean step, None where the time budget is that of the whole recording."""
    return diagnosis.steps.mean_ms if diagnosis.budget_over == "steps" else None


def ranks_with_budget(diagnosis: Diagnosis) -> set[int]:
    """Return the ranks with a time budget."""
    return {entry.rank for entry in diagnosis.per_process if entry.rank is not None}


def hosts_of_ranks(diagnosis: Diagnosis) -> dict[int, str]:
    """Return the host of each process, by number; none for a job on one host."""
    host_of = {known.process: known.host for known in diagnosis.processes}
    hosts = {host_of.get(entry.process) for entry in diagnosis.per_process}
    return host_of if len(hosts) > 1 else {}


def rank_name(budget: ProcessBudget, host_of: Mapping[int, str]) -> str:
    """Return `rank 3`, with its host among `hosts_of_ranks`."""
    host = host_of.get(budget.process)
    return f"rank {budget.rank} {host}" if host else f"rank {budget.rank}"


def ordered_findings(diagnosis: Diagnosis) -> list[Finding]:
    """Return the findings in the order of the screens: the verdict's first, then by lost time."""
    verdict_key = diagnosis.verdict.finding_key
    return sorted(diagnosis.findings, key=lambda finding: finding.key != verdict_key)


def verdict_finding(diagnosis: Diagnosis) -> Finding | None:
    """Return the finding that the verdict is, None where it is not a finding."""
    verdict_key = diagnosis.verdict.finding_key
    if verdict_key is None:
        return None
    return next((each for each in diagnosis.findings if each.key == verdict_key), None)


def finding_name(finding: Finding) -> str:
    """Return `ID`, or `ID/CAUSE`: what `perfscope explain` takes."""
    return finding.id if finding.cause is None else f"{finding.id}/{finding.cause}"


def recommended_change(finding: Finding) -> str:
    """Return the first action; the headline where no action is known."""
    text = finding.actions[0].text if finding.actions else finding.headline
    return capitalized(text)


def current_cost(finding: Finding, diagnosis: Diagnosis) -> tuple[str, str]:
    """Return (`39 ms/step`, `78 % of step time`): what a finding costs now.

    A loss of the whole run is in seconds of the recording.
    """
    if finding.lost_s <= 0:
        return ("none so far", "")
    if finding.scope == "requests":
        share = percent(finding.share)
        return (share, f"{share} of the time of requests")
    if finding.scope == "run":
        return (ms(finding.lost_s * NS_PER_S), f"{percent(finding.share)} of the recording")
    share = f"{percent(finding.share)} {scope_of_budget(diagnosis)}"
    mean_ms = mean_step_ms(diagnosis)
    if mean_ms is None:
        return (ms(finding.lost_s * NS_PER_S), share)
    return (f"{ms(finding.share * mean_ms * NS_PER_MS)}{per_step(diagnosis)}", share)


def speedup_text(value: float, upper: float = 1.0) -> str:
    """Return a speedup with as many digits as are meaningful: 1.06, 3.1, 14.

    The lower end of a range has no more digits than its `upper` end.
    """
    size = max(value, min(upper, LARGEST_SPEEDUP_WITH_A_DECIMAL))
    if size < 1.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if size < 9.95 else f"{value:.0f}"


def predicted_speedup(speedup: Speedup | None, times: str = "x") -> tuple[str, str]:
    """Return (`3.1x`, `2.6x to 3.4x`); (`at most 2.6x`, ``) where only the ceiling is known."""
    if speedup is None:
        return ("", "")
    if speedup.likely is None or speedup.low is None:
        return (f"at most {speedup_text(speedup.high)}{times}", "")
    low = speedup_text(speedup.low, speedup.high)
    interval = f"{low}{times} to {speedup_text(speedup.high)}{times}"
    return (f"{speedup_text(speedup.likely)}{times}", interval)


def claims(finding: Finding, diagnosis: Diagnosis) -> list[str]:
    """Return headline, explanation and caveat; nothing for the finding that the verdict shows."""
    if finding.key == diagnosis.verdict.finding_key:
        return []
    headline = (
        [] if capitalized(finding.headline) == recommended_change(finding) else [finding.headline]
    )
    return [*headline, *filter(None, [finding.explanation, finding.caveat])]
