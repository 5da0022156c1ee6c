"""A wait for a batch that the profiler did not see end: it lasts until the end of the recording."""

from benchmarks.accuracy.kineto import ProcessRecording, output_folder, write_json

recording = ProcessRecording()
recording.train(range(2, 12))
waits = [event for event in recording.events if event["name"].startswith("enumerate(DataLoader)")]
waits[3]["dur"] = round(recording.host_us - waits[3]["ts"], 3)
write_json(output_folder(__file__) / "trace.json", recording.to_document())
