"""Times since 1970 as text, so that no digit is lost; durations as numbers."""

from benchmarks.accuracy.kineto import (
    BASE_TIME_NS,
    ProcessRecording,
    output_folder,
    write_json,
)

recording = ProcessRecording()
recording.train(range(2, 11))
for event in recording.events:
    time_ns = BASE_TIME_NS + round(event["ts"] * 1000)
    event["ts"] = f"{time_ns // 1000}.{time_ns % 1000:03}"
document = recording.to_document()
del document["baseTimeNanoseconds"]
write_json(output_folder(__file__) / "trace.json", document)
