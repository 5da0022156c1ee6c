"""Kernels whose end was never stamped, and ranges whose length overflowed 32 bits."""

from benchmarks.accuracy.kineto import ProcessRecording, output_folder, with_category, write_json

OVERFLOWED = -2_147_483_648

recording = ProcessRecording()
recording.train(range(2, 12))
for event in with_category(recording.events, "kernel")[5::17]:
    event["dur"] = -event["ts"]
for event in recording.events:
    if event["name"].startswith("Optimizer.step"):
        event["dur"] = OVERFLOWED
write_json(output_folder(__file__) / "trace.json", recording.to_document())
