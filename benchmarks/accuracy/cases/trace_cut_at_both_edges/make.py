"""Recorded for a fixed time: it starts and ends in the middle of a step."""

from benchmarks.accuracy.kineto import ProcessRecording, output_folder, write_json

CUT_US = 3300.0

recording = ProcessRecording()
first_us = recording.host_us + CUT_US
recording.train(range(20, 30))
last_us = recording.host_us - CUT_US
kept = []
for event in recording.events:
    end_us = event["ts"] + event.get("dur", 0.0)
    if event["ph"] == "M" or (event["ts"] >= first_us and end_us <= last_us):
        kept.append(event)
write_json(output_folder(__file__) / "trace.json", recording.to_document(traceEvents=kept))
