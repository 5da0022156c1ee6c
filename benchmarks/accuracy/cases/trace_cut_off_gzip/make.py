"""The host ran out of memory while the recording was written: the compressed file ends early."""

import gzip
import json

from benchmarks.accuracy.kineto import ProcessRecording, output_folder

WRITTEN = 0.62

recording = ProcessRecording()
recording.train(range(5, 15))
recording.events.sort(key=lambda event: event["ts"])
compressed = gzip.compress(json.dumps(recording.to_document()).encode())
written = compressed[: int(len(compressed) * WRITTEN)]
(output_folder(__file__) / "trace.json.gz").write_bytes(written)
