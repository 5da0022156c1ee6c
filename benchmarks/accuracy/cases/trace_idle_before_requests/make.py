"""A server that was recorded for 12 s; its requests came in the last 0.3 s."""

from benchmarks.accuracy.kineto import ProcessRecording, Workload, output_folder, write_json

POLL_US, POLLS = 6000.0, 2000
SERVING = Workload(annotated=False, loader_us=20.0, between_steps_us=90.0)

recording = ProcessRecording(rank=0, ranks=1)
for _ in range(POLLS):
    end = recording.host_us + POLL_US
    name = "sglang/srt/managers/scheduler.py(1200): recv_requests"
    recording.add_host("python_function", name, recording.host_us, end - 20, **{"Python id": 7})
    recording.host_us = end
recording.train(range(40), SERVING)
write_json(output_folder(__file__) / "1790857026-TP-0.trace.json", recording.to_document())
