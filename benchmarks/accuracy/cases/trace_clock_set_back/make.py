"""The wall clock was set back by 2.5 s between two steps: the later ones have earlier times."""

from benchmarks.accuracy.kineto import ProcessRecording, output_folder, shift, write_json

SET_BACK_US = -2_500_000.0

recording = ProcessRecording()
recording.train(range(3, 9))
jump_us = recording.host_us
recording.train(range(9, 13))
shift((event for event in recording.events if event["ts"] >= jump_us), SET_BACK_US)
write_json(output_folder(__file__) / "trace.json", recording.to_document())
