"""Log messages of the profiler after the events; they contain quotes that are not escaped."""

import json

from benchmarks.accuracy.kineto import ProcessRecording, output_folder

QUOTE = "\x00"
MESSAGE = f"Processing cudaEvent {QUOTE}event_id{QUOTE}: 64, {QUOTE}stream{QUOTE}: 7"

recording = ProcessRecording()
recording.train(range(2, 10))
document = recording.to_document(INFO=[MESSAGE], traceName="/tmp/libkineto_activities_4021.json")
text = json.dumps(document, indent=1).replace("\\u0000", '"')
(output_folder(__file__) / "trace.json").write_text(text)
