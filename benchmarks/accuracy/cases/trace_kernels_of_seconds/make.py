"""Three kernels that last 6.9 s by their record, though the next of their stream starts at once."""

from benchmarks.accuracy.kineto import ProcessRecording, output_folder, with_category, write_json

LATE_END_US = 6_923_881.22
LATE_KERNELS = (40, 41, 130)

recording = ProcessRecording()
recording.train(range(2, 14))
kernels = with_category(recording.events, "kernel")
for number in LATE_KERNELS:
    kernels[number]["dur"] = LATE_END_US
write_json(output_folder(__file__) / "trace.json", recording.to_document())
