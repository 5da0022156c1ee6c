"""Forty replays of a graph; the profiler recorded the kernels of the first one only."""

from benchmarks.accuracy.kineto import (
    MI300X,
    ProcessRecording,
    output_folder,
    with_category,
    write_json,
)

GRAPH = [(MI300X.matmul, 16.0), (MI300X.elementwise, 4.0)] * 120

recording = ProcessRecording(gpu=MI300X)
for replay in range(40):
    start = recording.host_us
    kernels = recording.replay_graph(GRAPH)
    recording.read_loss()
    recording.host_us += 80.0
    name = "execute_context_0(0)_generation_32(32)"
    recording.add_host("user_annotation", name, start, recording.host_us - 1)
    if replay == 0:
        first_end_us = recording.host_us
lost = with_category(recording.events, "kernel")[len(GRAPH) :]
identities = {id(event) for event in lost}
kept = [
    event
    for event in recording.events
    if id(event) not in identities and not (event["ph"] == "f" and event["ts"] > first_end_us)
]
write_json(output_folder(__file__) / "trace.json", recording.to_document(traceEvents=kept))
