"""A diagnosis written out by hand: one finding of each shape the views must show."""

from perfscope.analyzer.diagnosis import (
    SCHEMA,
    Action,
    BoundBy,
    BudgetEntry,
    Diagnosis,
    Evidence,
    Failed,
    Finding,
    NotChecked,
    Overhead,
    OverheadPart,
    Precondition,
    Process,
    Rate,
    RunPhase,
    SlowStep,
    Source,
    Speedup,
    StepSummary,
    Throughput,
    Verdict,
)

SENTENCE = "Input-bound: training waits for data 61 % of each step"
EXPLANATION = "Both cores are 97 % busy decoding."
CAVEAT = "More workers would not help."
DECODING_IS_SLOW = Precondition("decoding-fills-cores", "decoding takes 97 % of both cores")
WRITES = Precondition("checkpoints-are-written", "4 checkpoints were written")
DECODING = Finding(
    id="input-bound",
    cause="decode-bound",
    severity="critical",
    lost_s=12.2,
    share=0.61,
    speedup=Speedup(2.6, 3.1, 3.4),
    headline=SENTENCE,
    evidence=[
        Evidence("longest wait: 88 ms in step 97", start_ns=1_000_000_000, end_ns=1_088_000_000),
        Evidence("a batch takes 47 ms to make: 41 ms on a core"),
    ],
    actions=[
        Action(
            "decode-less",
            "decode smaller images",
            DECODING_IS_SLOW,
            "image.draft('RGB', (256, 256))",
        ),
        Action("cache-samples", "keep decoded samples in a cache", DECODING_IS_SLOW),
    ],
    explanation=EXPLANATION,
    caveat=CAVEAT,
    share_of_run=0.6,
    key="input-bound/decode-bound#0",
)
STALL = Finding(
    id="checkpoint-stall",
    cause=None,
    severity="warning",
    lost_s=0.6,
    share=0.03,
    speedup=Speedup(None, None, 1.03),
    headline="Checkpoint stall: training waits 3 % of the time for checkpoints",
    evidence=[],
    actions=[Action("write-in-background", "write checkpoints in the background", WRITES)],
    key="checkpoint-stall#1",
)
GROWTH = Finding(
    id="memory-growth",
    cause=None,
    severity="warning",
    lost_s=0.0,
    share=0.0,
    speedup=None,
    headline="Memory growth: 12 MB per minute in `collect (train.py:9)`",
    evidence=[],
    actions=[],
    key="memory-growth#2",
)

DIAGNOSIS = Diagnosis(
    schema=SCHEMA,
    perfscope="0.1.0",
    workload="training",
    processes=[Process(0, 4172, "node", "main", 0, "train.py")],
    devices=[],
    verdict=Verdict(
        "input-bound",
        "decode-bound",
        SENTENCE,
        EXPLANATION,
        CAVEAT,
        0.96,
        kind="finding",
        finding_key=DECODING.key,
    ),
    bound_by=BoundBy("input", 0.61, 0.87),
    span_s=20.0,
    steps=StepSummary(
        188, 106.0, 104.0, 121.0, 0, slowest=[SlowStep(97, 1_000_000_000, 188.0, "input-wait")]
    ),
    time_budget=[
        BudgetEntry("compute-or-host", 7.2, 0.36),
        BudgetEntry("input-wait", 12.2, 0.61),
        BudgetEntry("checkpoint", 0.6, 0.03),
        BudgetEntry("host-bound", 0.0, 0.0),
    ],
    budget_process=0,
    budget_over="steps",
    per_process=[],
    sequential_processes=False,
    run_budget=[RunPhase("steps", 19.4, 0.97, 0), RunPhase("checkpoint", 0.6, 0.03, 0)],
    throughput=Throughput(
        Rate(9.43, "job", "steps"),
        Rate(302.0, "job", "loader"),
        Rate(None, reason="tokens are not recorded"),
        Rate(None, reason="no device"),
    ),
    memory=[],
    ignored=[],
    operators=[],
    findings=[DECODING, STALL, GROWTH],
    clear=["gc-pause", "gil-contention"],
    not_checked=[NotChecked("host-sync", "no GPU in use", "no-device")],
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
