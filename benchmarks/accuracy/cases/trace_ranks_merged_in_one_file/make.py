"""Two ranks merged into one file: the process ids have the rank before them, as text."""

from benchmarks.accuracy.kineto import ProcessRecording, Workload, output_folder, write_json

folder = output_folder(__file__)
merged, devices = [], []
for rank in range(2):
    recording = ProcessRecording(rank=rank, ranks=2, device=rank, pid=83 + rank)
    recording.train(range(3, 12), Workload(all_reduce_us=350.0))
    document = recording.to_document()
    for event in document["traceEvents"]:
        event["pid"] = f"[TP{rank:02}-DP00-PP00-EP00] {event['pid']}"
    merged += document["traceEvents"]
    devices += document["deviceProperties"]
merged.sort(key=lambda event: event["ts"])
document = recording.to_document(traceEvents=merged, deviceProperties=devices)
del document["distributedInfo"]
write_json(folder / "merged-1790857026.trace.json", document)
