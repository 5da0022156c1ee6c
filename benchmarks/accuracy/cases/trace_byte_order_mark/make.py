"""A recording that an editor or shell of Windows saved as UTF-8 with a byte-order mark."""

import json

from benchmarks.accuracy.kineto import ProcessRecording, output_folder

recording = ProcessRecording()
recording.train(range(2, 9))
text = json.dumps(recording.to_document(), indent=1)
(output_folder(__file__) / "trace.json").write_text(text.replace("\n", "\r\n"), "utf-8-sig")
