"""An Arc GPU of Intel whose runtime records copies but not one of the kernels."""

from benchmarks.accuracy.kineto import B580, ProcessRecording, output_folder, write_json

recording = ProcessRecording(gpu=B580)
recording.train(range(2, 12))
lost = {event["args"]["correlation"] for event in recording.events if event.get("cat") == "kernel"}
kept = [
    event
    for event in recording.events
    if event.get("cat") != "kernel" and not (event["ph"] == "f" and event["id"] in lost)
]
write_json(output_folder(__file__) / "trace.json", recording.to_document(traceEvents=kept))
