"""One process, a model split over two devices: each is idle while the other one computes."""

from benchmarks.accuracy.kineto import ProcessRecording, Workload, output_folder, write_json

HALF = Workload(layers=2)

recording = ProcessRecording()
recording.add_name("process_labels", 1, {"labels": "GPU 1"})
for number in range(3, 13):
    start = recording.host_us
    recording.load_batch(150.0)
    for recording.device in (0, 1):
        recording.forward(HALF)
        recording.join_streams()
    for recording.device in (1, 0):
        recording.backward(HALF)
        recording.join_streams()
    recording.step_optimizer(200.0)
    recording.device = 1
    recording.step_optimizer(200.0)
    recording.read_loss()
    recording.device = 0
    recording.host_us += 180.0
    name = f"ProfilerStep#{number}"
    recording.add_host("user_annotation", name, start, recording.host_us - 1)
devices = [{"id": device, **recording.gpu.properties} for device in range(2)]
write_json(output_folder(__file__) / "trace.json", recording.to_document(deviceProperties=devices))
