"""A recording compressed with Zstandard."""

import json

import pyarrow as pa

from benchmarks.accuracy.kineto import ProcessRecording, output_folder

recording = ProcessRecording()
recording.train(range(3, 11))
text = json.dumps(recording.to_document()).encode()
compressed = pa.compress(text, codec="zstd", asbytes=True)
(output_folder(__file__) / "trace.json.zst").write_bytes(compressed)
