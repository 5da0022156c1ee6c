"""A diagnosis written out by hand: one finding of each shape the views must show."""

from perfscope.analyzer.diagnosis import (
    Action,
    BoundBy,
    BudgetEntry,
    Diagnosis,
    Evidence,
    Failed,
    Finding,
    NotApplicable,
    Overhead,
    OverheadPart,
    Source,
    Speedup,
    StepSummary,
    Verdict,
)

SENTENCE = "Input-bound: training waits for data 61 % of each step"
EXPLANATION = "Both cores are 97 % busy decoding."
CAVEAT = "More workers would not help."
DECODING = Finding(
    id="input-bound",
    cause="decode-bound",
    severity="critical",
    rank=0,
    lost_s=12.2,
    share=0.61,
    speedup=Speedup(2.6, 3.1, 3.4),
    headline=SENTENCE,
    explanation=EXPLANATION,
    caveat=CAVEAT,
    evidence=[
        Evidence("longest wait: 88 ms in step 97", start_ns=1_000_000_000, end_ns=1_088_000_000),
        Evidence("a batch takes 47 ms to make: 41 ms on a core"),
    ],
    actions=[
        Action("decode smaller images", "image.draft('RGB', (256, 256))"),
        Action("or keep decoded samples in a cache"),
    ],
)
STALL = Finding(
    id="checkpoint-stall",
    cause=None,
    severity="warning",
    rank=0,
    lost_s=0.6,
    share=0.03,
    speedup=Speedup(None, None, 1.03),
    headline="Checkpoint stall: training waits 3 % of the time for checkpoints",
    evidence=[],
    actions=[Action("write checkpoints in the background")],
)
GROWTH = Finding(
    id="memory-growth",
    cause=None,
    severity="warning",
    rank=0,
    lost_s=0.0,
    share=0.0,
    speedup=None,
    headline="Memory growth: 12 MB per minute in `collect (train.py:9)`",
    evidence=[],
    actions=[],
)

DIAGNOSIS = Diagnosis(
    schema=1,
    verdict=Verdict("input-bound", "decode-bound", SENTENCE, EXPLANATION, CAVEAT, 0.96),
    bound_by=BoundBy("input", 0.61, 0.96),
    span_s=20.0,
    steps=StepSummary(188, 106.0, 104.0, 121.0, 0),
    time_budget=[
        BudgetEntry("compute-or-host", 7.2, 0.36),
        BudgetEntry("input-wait", 12.2, 0.61),
        BudgetEntry("checkpoint", 0.6, 0.03),
        BudgetEntry("host-bound", 0.0, 0.0),
    ],
    budget_rank=0,
    per_rank=[],
    findings=[DECODING, STALL, GROWTH],
    clear=["gc-pause", "gil-contention"],
    not_applicable=[NotApplicable("host-sync", "no GPU in use")],
    failed=[Failed("cpu-throttled", "ValueError: no such column")],
    overhead=Overhead(
        0.012,
        -0.003,
        0.021,
        9.5,
        9.4,
        9.5,
        [OverheadPart("entry", 0.004), OverheadPart("window", 0.2)],
    ),
    sources=[
        Source("probe", "ok", None, 0.004),
        Source("stacks", "partial", "py-spy is missing", None),
    ],
    dropped=["2 segments of probe.records"],
    run="run.perfscope",
)
