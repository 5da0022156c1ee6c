"""A server that decodes by replaying one graph: its kernels have the launch of the graph only."""

from benchmarks.accuracy.kineto import MI300X, ProcessRecording, output_folder, write_json

GRAPH = [(MI300X.matmul, 46.0), (MI300X.elementwise, 12.0), (MI300X.matmul, 31.0)] * 40

recording = ProcessRecording(gpu=MI300X)
for _ in range(40):
    start = recording.host_us
    recording.replay_graph(GRAPH)
    recording.read_loss()
    recording.host_us += 70.0
    name = "execute_context_0(0)_generation_32(32)"
    recording.add_host("user_annotation", name, start, recording.host_us - 1)
write_json(output_folder(__file__) / "trace.json", recording.to_document())
