"""Training recorded without calling the profiler's `step()`: no marks of steps."""

from benchmarks.accuracy.kineto import ProcessRecording, Workload, output_folder, write_json

recording = ProcessRecording()
recording.train(range(15), Workload(annotated=False))
write_json(output_folder(__file__) / "trace.json", recording.to_document())
