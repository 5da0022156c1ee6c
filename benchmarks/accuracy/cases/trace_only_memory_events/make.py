"""Only allocations were kept, without operators, kernels or steps; memory does not grow."""

from benchmarks.accuracy.kineto import ProcessRecording, output_folder, write_json

BLOCK, RESERVED, LIVE = 16_777_216, 8_589_934_592, 4_294_967_296

recording = ProcessRecording()
allocated = LIVE
for number in range(1200):
    size = BLOCK if number % 2 == 0 else -BLOCK
    allocated += size
    recording.host_us += 700.0
    facts = {
        "Total Reserved": RESERVED,
        "Total Allocated": allocated,
        "Bytes": size,
        "Addr": 128_803_317_743_616 + BLOCK * (number // 2 % 64),
        "Device Id": 0,
        "Device Type": 1,
        "Ev Idx": number,
    }
    event = recording.add_host("cpu_instant_event", "[memory]", recording.host_us, 0.0, **facts)
    event.update({"ph": "i", "s": "t"})
    del event["dur"]
write_json(output_folder(__file__) / "trace.json", recording.to_document(profile_memory=1))
