"""No warm-up: CUDA and its libraries start in the first step, which takes 1.9 s of 1.95 s."""

from benchmarks.accuracy.kineto import ProcessRecording, Workload, output_folder, write_json

START_CONTEXT_US, LOAD_LIBRARIES_US = 1_180_000.0, 720_000.0

recording = ProcessRecording()
start = recording.host_us
recording.call_runtime("cudaFree", START_CONTEXT_US)
recording.call_runtime("cuLibraryLoadData", LOAD_LIBRARIES_US)
recording.train([0], Workload(annotated=False))
recording.add_host("user_annotation", "ProfilerStep#0", start, recording.host_us - 1)
recording.train(range(1, 7))
write_json(output_folder(__file__) / "trace.json", recording.to_document())
