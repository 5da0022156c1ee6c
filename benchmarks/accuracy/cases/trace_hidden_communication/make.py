"""All-reduces of buckets that run on a stream of their own while the backward pass computes."""

from benchmarks.accuracy.kineto import ProcessRecording, Workload, output_folder, write_json

LAYERS = 4
BUCKETS_US = (620.0, 620.0, 620.0, 90.0)
BUCKET_ELEMENTS, LAST_ELEMENTS = 33_554_432, 4_194_304
LAYER = Workload(layers=1)

recording = ProcessRecording(rank=0, ranks=8)
for number in range(3, 13):
    start = recording.host_us
    recording.load_batch(150.0)
    recording.forward(Workload(layers=LAYERS))
    for bucket_us in BUCKETS_US:
        recording.backward(LAYER)
        elements = LAST_ELEMENTS if bucket_us < LAYER.matmul_us else BUCKET_ELEMENTS
        recording.all_reduce(bucket_us, elements)
    recording.join_streams()
    recording.step_optimizer(400.0)
    recording.read_loss()
    recording.host_us += 180.0
    name = f"ProfilerStep#{number}"
    recording.add_host("user_annotation", name, start, recording.host_us - 1)
write_json(output_folder(__file__) / "trace.json", recording.to_document())
