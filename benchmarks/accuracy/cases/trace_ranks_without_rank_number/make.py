"""Two ranks of one job; only the names of the files say which file is of which rank."""

from benchmarks.accuracy.kineto import ProcessRecording, Workload, output_folder, write_json

folder = output_folder(__file__) / "DDP"
for rank in range(2):
    recording = ProcessRecording(ranks=2, device=rank, pid=1880 + rank)
    recording.train(range(2, 12), Workload(all_reduce_us=360.0))
    write_json(folder / f"trace_kineto.{rank}.json", recording.to_document())
