"""A recording that PowerShell redirected into a file, which makes it UTF-16."""

import json

from benchmarks.accuracy.kineto import ProcessRecording, output_folder

recording = ProcessRecording()
recording.train(range(2, 8))
text = json.dumps(recording.to_document())
(output_folder(__file__) / "trace.json").write_text(text, "utf-16")
