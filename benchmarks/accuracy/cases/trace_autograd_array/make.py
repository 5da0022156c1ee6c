"""The array that the old autograd profiler exports: neither categories nor processes."""

from benchmarks.accuracy.kineto import output_folder, write_json

OPERATORS = ("aten::addmm", "aten::gelu", "aten::mm", "aten::add_")
OPERATOR_US, DEVICE_US, STEP_US = 60.0, 410.0, 500.0

events = []
for number in range(400):
    name = OPERATORS[number % len(OPERATORS)]
    start = 101.5 + number * STEP_US
    flow = {"name": name, "cat": "cpu_to_cuda", "id": number, "args": {}}
    work = {"name": name, "ph": "X", "args": {}}
    host = {"ts": start, "tid": 1, "pid": "CPU functions"}
    device = {"ts": start + 9.0, "tid": 0, "pid": "CUDA functions"}
    events += [
        {**work, **host, "dur": OPERATOR_US},
        {**flow, **host, "ph": "s"},
        {**flow, **device, "ph": "f"},
        {**work, **device, "dur": DEVICE_US},
    ]
write_json(output_folder(__file__) / "trace.json", events)
