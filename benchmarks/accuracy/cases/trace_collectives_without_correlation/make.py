"""RCCL kernels have correlation id 0 in a recording of ROCm; they take 30 % of each step."""

from benchmarks.accuracy.kineto import (
    MI300X,
    ProcessRecording,
    Workload,
    output_folder,
    with_category,
    write_json,
)

recording = ProcessRecording(gpu=MI300X, rank=0, ranks=8)
recording.train(range(3, 13), Workload(all_reduce_us=3000.0))
uncorrelated = set()
for event in with_category(recording.events, "kernel"):
    if event["name"] == MI300X.collective:
        uncorrelated.add(event["args"]["correlation"])
        event["args"]["correlation"] = 0
kept = [
    event
    for event in recording.events
    if event.get("cat") != "ac2g" or event["id"] not in uncorrelated
]
write_json(output_folder(__file__) / "trace.json", recording.to_document(traceEvents=kept))
