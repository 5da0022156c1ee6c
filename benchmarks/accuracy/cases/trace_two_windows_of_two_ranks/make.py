"""Two profiling windows, a minute apart, of each of two ranks: four files of one job."""

from benchmarks.accuracy.kineto import ProcessRecording, Workload, output_folder, write_json

MINUTE_US = 60e6
WORKLOAD = Workload(all_reduce_us=350.0)

folder = output_folder(__file__)
for rank in range(2):
    for window in range(2):
        recording = ProcessRecording(rank=rank, ranks=2, device=rank, pid=7100 + rank)
        recording.host_us += window * MINUTE_US
        recording.train(range(3 + 400 * window, 9 + 400 * window), WORKLOAD)
        name = f"node1_{recording.pid}.{1_790_857_026_000 + 60_000 * window + rank}.pt.trace.json"
        write_json(folder / "log" / name, recording.to_document())
