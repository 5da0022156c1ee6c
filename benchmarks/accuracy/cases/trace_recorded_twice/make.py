"""A converter added the events of the profiler twice: each is there with all its fields equal."""

from benchmarks.accuracy.kineto import ProcessRecording, output_folder, write_json

recording = ProcessRecording()
recording.train(range(2, 12))
document = recording.to_document(traceEvents=[*recording.events, *recording.events])
write_json(output_folder(__file__) / "trace.json", document)
