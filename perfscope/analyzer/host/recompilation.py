"""torch.compile compiles the same function repeatedly.

What it means
    Compiled code is valid for what Dynamo saw when it compiled: sizes of tensors, lengths of lists,
    values of Python numbers, which objects are used. A call that differs compiles the function
    again, which takes from some milliseconds (backend `eager`) to minutes (Inductor), and no step
    runs meanwhile. After `recompile_limit` compilations of a function (8 unless it was raised)
    torch gives up and runs it uncompiled.

How it is detected
    The probe times each compilation. At least six calls of one compiled function compile something,
    in each third of the recording, with training steps between them. Fewer such calls are enough if
    they continue to the end of the recording and Dynamo has compiled a frame of the function more
    than eight times. The first compilations after the start do not count, because they end. The
    loss is the time in compilations, without the first such call; it is at least 3 % of the
    recorded time. No speedup is predicted: without compilations the calls can take longer (code for
    all sizes) or less time (fewer guards to check).

What to do
    The check that failed says what changes. A size: mark the dimension as dynamic, compile with
    `dynamic=True`, or round sizes up to a few (buckets). The length of a list: pass one tensor. A
    Python number: pass it as a tensor, or use it outside of the compiled function. An object: make
    functions and modules once. Call torch.compile before the loop, not in it.
    `TORCH_LOGS=recompiles` prints every check that fails.

When it is wrong
    If the loader returns batches of many sizes, each size is compiled once, and the compilations
    end after some hundred steps. A recording of these steps alone looks the same.
"""

import re

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.critical_rank import severity_of
from perfscope.analyzer.budget.lines.finding_lines import line_in_compilation
from perfscope.analyzer.diagnosis import Action, Evidence, Finding
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, ms, percent, plural
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.ranks.local_ranks import main_processes
from perfscope.analyzer.run.recompilations import Recompilations, recompilations
from perfscope.traces.intervals import Spans
from perfscope.traces.trace import Trace

ID = "recompilation"
NS_PER_S = 1e9
MOST_NAMES = 3
SIZES = re.compile(r"^tensor .* (size|stride|rank) mismatch|\.(size|stride|dim)\(\)|\.shape\b")
LENGTHS = re.compile(r"^len\(")
OBJECTS = re.compile(r"^(not )?_*(check_(obj_id|type_id|function)|id\()|BACKEND_MATCH")
VALUES = re.compile(r"^[\w.\[\]'\"]+$")
"""A check of a value is its place alone, such as `self.step` (values are not recorded)."""

DYNAMIC_SIZES = Advice(
    "mark-sizes-dynamic",
    "let the size that changes be dynamic: mark its dimension, or compile with dynamic=True; or"
    " round sizes up to a few lengths, so that each is compiled once",
    "sizes-fail-checks",
    "Most recompilations with a known check are caused by a tensor of another size.",
)
ONE_TENSOR = Advice(
    "pass-one-tensor",
    "pass one tensor (stacked, padded or concatenated) in place of a list whose length changes",
    "lengths-fail-checks",
    "Most recompilations with a known check are caused by a list of another length.",
)
NUMBERS_AS_TENSORS = Advice(
    "pass-numbers-as-tensors",
    "pass the number that changes as a tensor, or use it outside of the compiled function",
    "values-fail-checks",
    "Most recompilations with a known check are caused by another value of a Python number.",
)
OBJECTS_ONCE = Advice(
    "create-objects-once",
    "create the functions and modules that the compiled code uses once, before the loop",
    "objects-fail-checks",
    "Most recompilations with a known check are caused by another object in the same place.",
)
COMPILE_ONCE = Advice(
    "compile-once",
    "call torch.compile once, before the loop, and never torch.compiler.reset in it",
    "compiled-objects-are-new",
    "Most of the calls that compile are the first of a new result of torch.compile.",
)
LOG_RECOMPILATIONS = Advice(
    "log-recompilations",
    "print which check fails at each recompilation, and keep constant what it names",
    "check-is-unknown",
    "The function was compiled again, and no kind of check explains most recompilations.",
)
KINDS = (
    (SIZES, DYNAMIC_SIZES, "torch._dynamo.mark_dynamic(batch, 1)  # before the compiled call"),
    (LENGTHS, ONE_TENSOR, "torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)"),
    (OBJECTS, OBJECTS_ONCE, None),
    (VALUES, NUMBERS_AS_TENSORS, "torch.tensor(number)"),
)
"""The first pattern that fits a failed check decides its advice."""


def not_applicable(trace: Trace, limits: Limits) -> None:
    """Return None: every recording with the probe shows compilations."""


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding where recompilations take enough of the recorded time."""
    found = [recompilations(trace, process) for process, _ in main_processes(trace)]
    costly = [case for case in found if case is not None and case.share >= limits.worth_share]
    if not costly:
        return None
    case = max(costly, key=lambda case: case.share)
    share = percent(case.share)
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(case.share, limits),
        lost_s=round(case.lost_ns / NS_PER_S, 4),
        share=round(case.share, 4),
        speedup=None,
        headline=f"Recompilation: torch.compile compiles {share} of the recorded time",
        explanation=explain_recompilations(case),
        caveat="No speedup is predicted: the change also affects how long the calls take.",
        evidence=evidence_of_recompilations(case),
        actions=actions_for_checks(case, limits),
        processes=[case.process],
        scope="run",
    )


def explain_recompilations(case: Recompilations) -> str:
    """Return how many calls compile, what is compiled, and which checks fail."""
    text = (
        f"{case.calls} of {plural(case.all_calls, 'call')} of `{case.name}` compile something,"
        " throughout the recording: code that was compiled before does not fit the next call."
    )
    if case.guards:
        failed = ", ".join(f"`{guard}`" for guard in list(case.guards)[:MOST_NAMES])
        text += f" What changes: {failed}."
    return text


def evidence_of_recompilations(case: Recompilations) -> list[Evidence]:
    """Return the time, the longest compilation, the compiled functions and the failed checks."""
    facts = [
        Evidence(
            f"compilations: {ms(case.lost_ns)} of {ms(case.recorded_ns)} recorded",
            round(case.lost_ns / NS_PER_S, 3),
            "s",
            process=case.process,
            lane="main",
        ),
        longest_evidence(case.process, case.compiled),
    ]
    if case.functions:
        names = ", ".join(f"`{name}`" for name in case.functions[:MOST_NAMES])
        text = f"compiled: {names}"
        if case.earlier > 0:
            text += f", up to {plural(case.earlier, 'time')} before"
        facts.append(Evidence(text, float(max(case.earlier, 0)), process=case.process))
    if case.guards:
        counts = ", ".join(
            f"`{guard}` {digits(count)}" for guard, count in list(case.guards.items())[:MOST_NAMES]
        )
        facts.append(Evidence(f"failed checks: {counts}", process=case.process))
    return facts


def longest_evidence(process: int, compiled: Spans) -> Evidence:
    """Return the longest compilation with its place on the timeline."""
    starts, ends = compiled
    longest = int((ends - starts).argmax())
    begin_ns, end_ns = int(starts[longest]), int(ends[longest])
    return Evidence(
        f"longest compilation: {ms(end_ns - begin_ns)}",
        round((end_ns - begin_ns) / 1e6, 3),
        "ms",
        start_ns=begin_ns,
        end_ns=end_ns,
        process=process,
        lane="main",
    )


def actions_for_checks(case: Recompilations, limits: Limits) -> list[Action]:
    """Return the action for the kind of check that most recompilations failed, else how to see."""
    main = limits.main_cause_share
    given = COMPILE_ONCE.given(
        case.objects > max(main * case.calls, 1.0),
        f"{plural(case.calls, 'call')} that compile, of {plural(case.objects, 'compiled object')}",
    )
    known = sum(case.guards.values())
    for kind, (_, advice, snippet) in enumerate(KINDS):
        count = sum(count for guard, count in case.guards.items() if kind_of_check(guard) == kind)
        text = f"{count} of {plural(float(known), 'recompilation')} with a known check"
        given += advice.given(count >= main * known > 0.0, text, snippet=snippet)
    return given or LOG_RECOMPILATIONS.given(
        case.calls > 1,
        f"{plural(case.calls, 'call')} of `{case.name}` compiled, none of the checks is known",
        snippet="TORCH_LOGS=recompiles",
    )


def kind_of_check(guard: str) -> int:
    """Return the place of the kind of a failed check in KINDS, -1 for another kind."""
    return next((at for at, (fits, _, _) in enumerate(KINDS) if fits.search(guard)), -1)


RULE = Rule(
    ID,
    not_applicable,
    detect,
    needs=("ranges",),
    in_traces=False,
    where=line_in_compilation,
    consequences=(
        "launch-bound",
        "cpu-oversubscription",
        "gc-pause",
        "gil-contention",
        "input-bound/unknown-loader",
        "memory-growth",
        "compute-bound",
        "memory-bound",
    ),
    advice=(
        COMPILE_ONCE,
        DYNAMIC_SIZES,
        ONE_TENSOR,
        NUMBERS_AS_TENSORS,
        OBJECTS_ONCE,
        LOG_RECOMPILATIONS,
    ),
    color="host-bound",
)
