"""The profiler stopped before the records of the last two steps' kernels arrived."""

from benchmarks.accuracy.kineto import ProcessRecording, output_folder, write_json

DEVICE_WORK = ("kernel", "gpu_memcpy")

recording = ProcessRecording()
recording.train(range(4, 9))
end_us = recording.host_us
recording.train(range(9, 11))
kept = [
    event
    for event in recording.events
    if event["ts"] < end_us or (event.get("cat") not in DEVICE_WORK and event["ph"] != "f")
]
write_json(output_folder(__file__) / "trace.json", recording.to_document(traceEvents=kept))
