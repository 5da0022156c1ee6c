"""Two hosts whose clocks differ by 7.3 s; rank 1 computes 0.96 ms per step longer than rank 0."""

from benchmarks.accuracy.kineto import ProcessRecording, Workload, output_folder, shift, write_json

LATE_CLOCK_US = 7_300_000.0
TRANSFER_US, LONGER_US = 350.0, 960.0
FAST = Workload(all_reduce_us=TRANSFER_US + LONGER_US)
SLOW = Workload(matmul_us=560.0, all_reduce_us=TRANSFER_US)

folder = output_folder(__file__) / "log"
for rank, workload in enumerate((FAST, SLOW)):
    recording = ProcessRecording(rank=rank, ranks=2, pid=9000 + 517 * rank)
    recording.train(range(3, 23), workload)
    shift(recording.events, rank * LATE_CLOCK_US)
    name = f"host{rank}_{recording.pid}.1790857026000.pt.trace.json"
    write_json(folder / name, recording.to_document())
