"""The host was suspended since it booted: the device's clock is 412 s behind that of the host."""

from benchmarks.accuracy.kineto import (
    MI300X,
    ProcessRecording,
    output_folder,
    shift,
    with_category,
    write_json,
)

BEHIND_US = -412_000_000.0

recording = ProcessRecording(gpu=MI300X)
recording.train(range(3, 12))
flow_ends = [event for event in recording.events if event["ph"] == "f"]
shift([*with_category(recording.events, "kernel", "gpu_memcpy"), *flow_ends], BEHIND_US)
write_json(output_folder(__file__) / "trace.json", recording.to_document())
