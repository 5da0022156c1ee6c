"""Two ranks of one job; rank 1 stopped recording three steps before rank 0."""

from benchmarks.accuracy.kineto import ProcessRecording, Workload, output_folder, write_json

LAST_STEP = (13, 10)

folder = output_folder(__file__) / "log"
for rank, last in enumerate(LAST_STEP):
    recording = ProcessRecording(rank=rank, ranks=2, device=rank, pid=5200 + rank)
    recording.train(range(3, last), Workload(all_reduce_us=380.0))
    name = f"rank{rank}_{recording.pid}.1790857026000.pt.trace.json"
    write_json(folder / name, recording.to_document())
