"""The device's activity was not collected: operators, stacks and launches, but not one kernel."""

from benchmarks.accuracy.kineto import ProcessRecording, output_folder, with_category, write_json

FUNCTION = "torch/nn/modules/linear.py(134): forward"

recording = ProcessRecording()
recording.train(range(2, 12))
for event in with_category(recording.events, "cpu_op"):
    end = event["ts"] + event["dur"] + 1
    recording.add_host("python_function", FUNCTION, event["ts"] - 1, end, **{"Python id": 1})
kept = [
    event
    for event in recording.events
    if event.get("cat") not in ("kernel", "gpu_memcpy") and event["ph"] != "f"
]
document = recording.to_document(traceEvents=kept, with_stack=1)
write_json(output_folder(__file__) / "trace.json", document)
