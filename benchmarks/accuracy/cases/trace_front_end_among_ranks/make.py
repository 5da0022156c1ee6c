"""Two tensor-parallel workers of a server, and the file of its front end, which has no device."""

from benchmarks.accuracy.kineto import WIDTH, ProcessRecording, Workload, output_folder, write_json

WORKLOAD = Workload(
    all_reduce_us=150.0,
    all_reduce_elements=WIDTH * WIDTH,
    annotated=False,
    loader_us=30.0,
    between_steps_us=60.0,
)
FUNCTIONS = (
    "vllm/v1/engine/async_llm.py(430): output_handler",
    "vllm/v1/engine/output_processor.py(390): process_outputs",
    "vllm/transformers_utils/detokenizer_utils.py(85): detokenize_incrementally",
)
WAIT_US, HANDLE_US = 6200.0, 900.0

folder = output_folder(__file__) / "vllm_profile"
for rank in range(2):
    worker = ProcessRecording(rank=rank, ranks=2, device=rank, pid=311 + rank)
    worker.train(range(12), WORKLOAD)
    write_json(folder / f"dp0_pp0_tp{rank}_rank{rank}.pt.trace.json", worker.to_document())
front_end = ProcessRecording(pid=170)
while front_end.host_us < worker.host_us:
    start = front_end.host_us + WAIT_US
    for depth, function in enumerate(FUNCTIONS):
        end = start + HANDLE_US - depth
        front_end.add_host("python_function", function, start + depth, end, **{"Python id": depth})
    front_end.add_host("cpu_op", "aten::empty", start + 10, start + 14)
    front_end.host_us = start + HANDLE_US
events = [event for event in front_end.events if event["name"] != "process_labels"]
document = front_end.to_document(traceEvents=events, deviceProperties=[], with_stack=1)
write_json(folder / "node1_170.async_llm.pt.trace.json", document)
