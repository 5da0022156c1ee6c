"""Stack samples of the processes of an attached engine, and counters of its host."""

from collections.abc import Mapping

from tests.build import MAIN, Rows
from tests.serving.served_trace import NS

ENGINE_LOOP = "run_engine_core (vllm/v1/engine/core.py:1100);run_busy_loop (vllm/v1/engine/core.py)"
API_SERVER = "<module> (vllm/entrypoints/cli/main.py:1);run (asyncio/runners.py:118)"
MODEL = f"{ENGINE_LOOP};step (vllm/v1/engine/core.py:400);execute_model (vllm/v1/worker/gpu.py:90)"
RECEIVE = f"{ENGINE_LOOP};get (queue.py:171)"
PROCESSES: Rows = [
    {**MAIN, "name": "vllm"},
    {**MAIN, "process": 1, "pid": 101, "ns_pid": 101, "parent": 0, "name": "EngineCore"},
]
DEVICES = {"devices": [{"device": 0, "name": "NVIDIA H100"}]}


def sampled(process: int, shares: Mapping[str, float], *, seconds: int = 29) -> Rows:
    """Return ten samples per second of one thread, in turn in these stacks by their shares."""
    count, rows, owed = seconds * 10, [], dict.fromkeys(shares, 0.0)
    for number in range(count):
        owed = {stack: debt + shares[stack] for stack, debt in owed.items()}
        stack = max(owed, key=lambda each: owed[each])
        owed[stack] -= 1.0
        place = {"process": process, "tid": 100 + process, "ts": number * NS // 10}
        rows.append({**place, "weight_ns": NS // 10, "stack": stack})
    return rows


def grown(rates: Mapping[tuple[int, str], float], *, seconds: int = 30) -> Rows:
    """Return counters of process 0 that grow by so many seconds per second, by tid and name."""
    return [
        {"process": 0, "tid": tid, "ts": second * NS, "name": name, "value": rate * second * NS}
        for (tid, name), rate in rates.items()
        for second in range(seconds)
    ]
