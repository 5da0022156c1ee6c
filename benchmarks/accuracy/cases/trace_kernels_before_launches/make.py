"""Device times are 0.9 ms too early: kernels start before the calls that launch them."""

from benchmarks.accuracy.kineto import (
    ProcessRecording,
    output_folder,
    shift,
    with_category,
    write_json,
)

EARLY_US = -900.0

recording = ProcessRecording()
recording.train(range(4, 12))
flow_ends = [event for event in recording.events if event["ph"] == "f"]
shift([*with_category(recording.events, "kernel", "gpu_memcpy"), *flow_ends], EARLY_US)
write_json(output_folder(__file__) / "trace.json", recording.to_document())
