r"""Paths of Windows in the names of Python functions, with backslashes that are not escaped."""

import json

from benchmarks.accuracy.kineto import ProcessRecording, output_folder, with_category

FUNCTION = r"C:\Users\ml\x86\venv\Lib\site-packages\torch\nn\modules\linear.py(134): forward"

recording = ProcessRecording()
recording.train(range(1, 9))
for event in with_category(recording.events, "cpu_op"):
    end = event["ts"] + event["dur"] + 1
    recording.add_host("python_function", FUNCTION, event["ts"] - 1, end, **{"Python id": 1})
text = json.dumps(recording.to_document(with_stack=1)).replace(r"\\", "\\")
(output_folder(__file__) / "trace.json").write_text(text)
