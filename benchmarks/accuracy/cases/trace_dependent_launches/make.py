"""Decoding with programmatic dependent launches: each kernel starts before its predecessor ends."""

from benchmarks.accuracy.kineto import H100, ProcessRecording, output_folder, write_json

EARLY_US = 6.0
GRAPH = [(H100.matmul, 12.0), (H100.elementwise, 5.0)] * 150

recording = ProcessRecording()
for _ in range(30):
    start = recording.host_us
    dependent = recording.replay_graph(GRAPH)[1:]
    for event in dependent:
        event["ts"] = round(event["ts"] - EARLY_US, 3)
        event["dur"] += EARLY_US
    recording.read_loss()
    recording.host_us += 60.0
    name = "execute_context_0(0)_generation_64(64)"
    recording.add_host("user_annotation", name, start, recording.host_us - 1)
write_json(output_folder(__file__) / "trace.json", recording.to_document())
