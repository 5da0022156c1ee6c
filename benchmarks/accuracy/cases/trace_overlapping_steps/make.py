"""The mark of each step ends 1.5 ms after the next one starts."""

from benchmarks.accuracy.kineto import ProcessRecording, output_folder, write_json

TOO_LONG_US = 1500.0

recording = ProcessRecording()
recording.train(range(6, 16))
for event in recording.events:
    if event["name"].startswith("ProfilerStep"):
        event["dur"] = round(event["dur"] + TOO_LONG_US, 3)
write_json(output_folder(__file__) / "trace.json", recording.to_document())
