"""A recording whose name ends with `.gz` though it is not compressed."""

from benchmarks.accuracy.kineto import ProcessRecording, output_folder, write_json

recording = ProcessRecording()
recording.train(range(2, 10))
write_json(output_folder(__file__) / "trace.json.gz", recording.to_document())
