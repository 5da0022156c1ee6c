"""Rules that replace the texts of one kind by stable short hashes, for output that leaves the
company.

Equal texts get equal hashes, in every run, so that two redacted outputs can be compared. A hash
hides a text from a reader, not from somebody who can guess it: it has no key.
"""

import hashlib
import json
import re
import sys
from typing import Final

PACKAGE_NAMES: Final = """
PIL accelerate albumentations bitsandbytes cupy cv2 dask datasets deepspeed diffusers fsspec
flash_attn flax h5py huggingface_hub ignite jax kornia lightning lightning_fabric lmdb
matplotlib megatron msgpack mpi4py nltk numba numpy nvidia nvtx onnx onnxruntime pandas peft
perfscope polars psutil pyarrow pydantic pytorch_lightning ray requests safetensors
scipy sentencepiece sglang sklearn spacy tensorboard tensorboardX tiktoken timm tokenizers
torch torchaudio torchdata torchmetrics torchrun torchtext torchvision tqdm transformers
triton trl urllib3 uvicorn uvloop vllm wandb webdataset xformers zarr
"""
PUBLIC_PACKAGES: Final = frozenset(sys.stdlib_module_names) | frozenset(PACKAGE_NAMES.split())
"""Packages whose file and function names say nothing about the user's own code."""
PUBLIC_LIBRARY: Final = re.compile(
    r"(?:lib(?:torch\w*|c10\w*|cud\w*|nccl|nv\w*|cublas\w*|c|m|pthread|dl|stdc\+\+|gomp|iomp5|gcc_s"
    r"|python[\d.]*|mkl\w*|openblas\w*)|ld-linux[\w-]*)[-\d.]*\.so[\d.]*"
)
OF_PROGRAM: Final = re.compile(r"\./|/")
PACKAGE_FOLDER: Final = re.compile(r"(?:.*/)?(?:(?:site|dist)-packages|lib/python\d[\d.]*)/")
FRAME: Final = re.compile(r"(?P<function>.*) \((?P<file>[^()]*?)(?P<line>:\d+)?\)")
PROFILER_FUNCTION: Final = re.compile(r"(?P<file>.*\.py)(?P<line>\(\d+\)): (?P<function>.*)")
PLAIN_FUNCTION: Final = re.compile(r"<(?:module|lambda|listcomp|genexpr|dictcomp|setcomp)>|__\w+__")
BUILT_IN: Final = re.compile(r"<built-in ")
SUFFIX: Final = re.compile(r"\.(?:py|pyx|so|c|cpp|cu|sh|json|ya?ml)\Z")

STEP_RANGE: Final = re.compile(
    r"(?!Optimizer\.)(?P<name>.*?)\b(?:train(?:ing)?[ _-]?)?(?:step|iter(?:ation)?|batch)\b"
    r"[ _#:-]*(?P<number>\d*)",
    re.IGNORECASE,
)
"""A range that marks a step is still recognized as one after it is redacted."""
PUBLIC_RANGE: Final = re.compile(
    r"ProfilerStep\s*#\s*\d+|enumerate\(DataLoader\)#.*|autograd::.*|\w+Backward\d*"
    r"|## Call CompiledFxGraph.*|Torch-Compiled Region.*|CompiledFunction\w*|DDP\b.*|FSDP::\w+"
    r"|(?:nccl|gloo|c10d|aten|torch)[:_]\w+"
)
RANGE_STACK: Final = re.compile(r"[^;]+ \([^()]*:\d+\)(?:;[^;]+ \([^()]*:\d+\))*")
"""A range that is named by frames."""
RANGE_PREFIX: Final = re.compile(r"(nn\.Module: |Optimizer\.\w+#)(.*)")

NAMESPACES: Final = """
aten prim prims torch c10 c10d _c10d_functional nccl gloo autograd quantized inductor triton
torchvision torchaudio xformers flash_attn _C vllm detectron2 record_param_comms
"""
PUBLIC_NAMESPACES: Final = frozenset(NAMESPACES.split())
GROUP: Final = re.compile(r"(?P<name>.*?)(?P<members>\s*\[[\d, ]*\])?", re.DOTALL)
PUBLIC_GROUP: Final = re.compile(r"(?:default_pg|default|undefined|\d*)\s*")
QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
PUBLIC_VALUE: Final = re.compile(
    r"(?:True|False|None|nan|[+-]?inf|[-+.\deE]+|c?uda(?::\d+)?|cpu|sum|mean|none|tanh|zeros"
    r"|border|reflection|constant|reflect|replicate|circular|floor|trunc"
    r"|[a-zA-Z]{1,12}(?:,\s*[a-zA-Z]{1,12})*\s*->\s*[a-zA-Z]*|)"
)
PUBLIC_THREAD: Final = re.compile(
    r"MainThread|python[\d.]*|QueueFeederThread|pt_\w+|Thread-\d+|ThreadPoolExecutor-[\d_]+"
    r"|(?:cuda|nccl|gloo)[\w-]*|thread \d+|\d*"
)
THREAD_OF_FUNCTION: Final = re.compile(r"(Thread-\d+) \((.*)\)")
PUBLIC_PROCESS: Final = re.compile(r"python[\d.]*|torchrun|accelerate|pt_\w+|pid \d+")
PATH: Final = re.compile(r"(?<![\w.])~?(?:/[\w.+@-]+){2,}/?")

ADDRESS: Final = re.compile(r"(https?://)(\[[^\]/\s]*\]|[^\s/:;]+)")
PAGE_ADDRESS: Final = re.compile(
    r"(?P<scheme>https?://)(?P<host>\[[^\]]*\]|[^/:]*)(?P<port>(?::\d+)?)(?P<path>.*)"
)
LOOPBACK_HOST: Final = re.compile(r"127\.[\d.]+|localhost|\[::1\]")
PUBLIC_PATHS: Final = ("/metrics", "/prometheus/metrics", "")
PUBLIC_LABEL: Final = re.compile(
    r"engine|model_name|finished_reason|mode|reason|stage|version|\w*rank|\w+_(?:size|"
    r"type|blocks|override|utilization|dtype|caching|scales|gb|bytes|window|free|tokens)"
)
PUBLIC_LABEL_VALUE: Final = re.compile(
    r"[\d.+-]*|None|True|False|on|off|auto|fp8\w*|bfloat16|float16|float32|unified|prefill|decode"
)
LABELS_OF_ENGINES: Final = ("mode", "finished_reason", "reason", "stage")
WORD_OF_ENGINES: Final = re.compile(r"[a-z_]{0,32}")
"""The values of these labels, which the engine chooses."""


def hash_text(kind: str, text: str) -> str:
    """Return a stable short name for the text, such as `host-1f0c55aa`."""
    content = text.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(content, digest_size=4, person=b"perfscope").hexdigest()
    return f"{kind}-{digest}"


def redact_host(text: str) -> str:
    """Return a host name as a hash; "" stays."""
    return hash_text("host", text) if text else text


def redact_file(path: str) -> str:
    """Return a file of a public package relative to the packages' folder, any other as a hash with
    its suffix.
    """
    relative = PACKAGE_FOLDER.sub("", path, count=1)
    if is_public_file(relative):
        return relative
    suffix = SUFFIX.search(path)
    return hash_text("file", path) + (suffix[0] if suffix is not None else "")


def is_public_file(path: str) -> bool:
    """Return whether the file, relative to the packages' folder, belongs to a public package."""
    if path.startswith("<") or PUBLIC_LIBRARY.fullmatch(path.rsplit("/", 1)[-1]):
        return True
    top = path.lstrip("/").split("/", 1)[0]
    return not path.startswith("/") and top.removesuffix(".py") in PUBLIC_PACKAGES


def redact_call(function: str, file: str) -> tuple[str, str]:
    """Return a function and its file, both redacted unless the file is public.

    The beginning of a path that shows that the file is the program's own stays.
    """
    redacted_file = redact_file(file)
    public = is_public_file(redacted_file)
    beginning = OF_PROGRAM.match(file)
    if beginning is not None and not public:
        redacted_file = beginning[0] + redacted_file
    public = public or PLAIN_FUNCTION.fullmatch(function) is not None
    return (function if public else hash_text("function", function)), redacted_file


def redact_frame(frame: str) -> str:
    """Return `function (file:line)` redacted; the line stays."""
    found = FRAME.fullmatch(frame)
    if found is None:
        return frame if BUILT_IN.match(frame) else hash_text("function", frame)
    function, file = redact_call(found["function"], found["file"])
    return f"{function} ({file}{found['line'] or ''})"


def redact_library(name: str) -> str:
    """Return the file name of a library; a hash unless its package or the system is public."""
    public = PUBLIC_LIBRARY.fullmatch(name) or PUBLIC_PROCESS.fullmatch(name)
    return name if public or name.startswith("[") else hash_text("library", name)


def redact_program_file(file: str) -> str:
    """Return the file of a frame as it is in a redacted stack."""
    return redact_call("", file)[1]


def redact_source_line(text: str) -> str:
    """Return a line of source code as a hash."""
    return hash_text("line", text)


def redact_stack(stack: str) -> str:
    """Return the frames of a stack, each redacted."""
    return ";".join(redact_frame(frame) for frame in stack.split(";"))


def redact_range(name: str) -> str:
    """Return the name of a range: a step stays recognizable as one, names of torch stay."""
    if PUBLIC_RANGE.fullmatch(name) or (BUILT_IN.match(name) and "torch" in name):
        return name
    if RANGE_STACK.fullmatch(name):
        return redact_stack(name)
    called = PROFILER_FUNCTION.fullmatch(name)
    if called is not None:
        function, file = redact_call(called["function"], called["file"])
        return f"{file}{called['line']}: {function}"
    prefixed = RANGE_PREFIX.fullmatch(name)
    if prefixed is not None:
        return prefixed[1] + hash_text("class", prefixed[2])
    step = STEP_RANGE.fullmatch(name)
    if step is not None:
        return f"{hash_text('range', step['name'])} step {step['number']}".strip()
    return hash_text("range", name)


def redact_operator(name: str) -> str:
    """Return the name of an operator; those of torch and other public namespaces stay."""
    namespace, colons, _ = name.partition("::")
    if colons and namespace not in PUBLIC_NAMESPACES:
        return hash_text("operator", name)
    return name


def redact_values(values: str) -> str:
    """Return a JSON list of values with its texts redacted, but those that the cost of an operator
    depends on.
    """

    def redact_value(match: "re.Match[str]") -> str:
        return match[0] if PUBLIC_VALUE.fullmatch(match[1]) else f'"{hash_text("text", match[1])}"'

    return QUOTED.sub(redact_value, values)


def redact_group(group: str) -> str:
    """Return a process group: its ranks stay."""
    found = GROUP.fullmatch(group)
    assert found is not None  # the pattern matches every text
    name = found["name"] if PUBLIC_GROUP.fullmatch(found["name"]) else hash_text("group", group)
    return name + (found["members"] or "")


def redact_thread(name: str) -> str:
    """Return a thread's name; those that Python, torch and CUDA choose stay."""
    if PUBLIC_THREAD.fullmatch(name):
        return name
    found = THREAD_OF_FUNCTION.fullmatch(name)
    if found is not None:
        return f"{found[1]} ({hash_text('function', found[2])})"
    return hash_text("thread", name)


def redact_process(name: str) -> str:
    """Return a process's name; the interpreter's and the launchers' stay."""
    return name if PUBLIC_PROCESS.fullmatch(name) else redact_file(name)


def redact_user(name: str) -> str:
    """Return a user name as a hash."""
    return hash_text("user", name)


def redact_label(name: str) -> str:
    """Return a label of a range; a number stays."""
    return name if re.fullmatch(r"#\d+", name) else hash_text("label", name)


def redact_argument(word: str) -> str:
    """Return a word of a command line as a hash."""
    return hash_text("argument", word)


def redact_paths(text: str) -> str:
    """Return a sentence with the paths in it redacted."""
    return PATH.sub(lambda match: redact_file(match[0]), text)


def redact_address(text: str) -> str:
    """Return the text with the hosts of network addresses in it as hashes; loopback stays."""
    return ADDRESS.sub(lambda found: found[1] + redact_network_host(found[2]), text)


def redact_network_host(host: str) -> str:
    """Return the host of an address as a hash; loopback stays."""
    return host if LOOPBACK_HOST.fullmatch(host) else redact_host(host)


def redact_page_path(url: str) -> str:
    """Return the address of a metrics page: host and path as hashes, but the usual paths."""
    found = PAGE_ADDRESS.fullmatch(url)
    if found is None:
        return hash_text("address", url)
    path = (
        found["path"] if found["path"] in PUBLIC_PATHS else "/" + hash_text("path", found["path"])
    )
    return f"{found['scheme']}{redact_network_host(found['host'])}{found['port']}{path}"


def redact_metric_labels(text: str) -> str:
    """Return the labels of a metric: numbers, switches and the engines' own words stay."""
    try:
        labels = json.loads(text)
    except ValueError:
        return hash_text("labels", text)
    if not isinstance(labels, dict):
        return hash_text("labels", text)
    return json.dumps(
        {
            name if PUBLIC_LABEL.fullmatch(name) else hash_text("label", name): redact_label_value(
                name, str(value)
            )
            for name, value in labels.items()
        },
        sort_keys=True,
    )


def redact_label_value(name: str, value: str) -> str:
    """Return the value of a label."""
    is_word = name in LABELS_OF_ENGINES and WORD_OF_ENGINES.fullmatch(value)
    return value if is_word else redact_setting(value)


def redact_setting(value: str) -> str:
    """Return the value of an engine's option; numbers and the usual words stay."""
    return value if PUBLIC_LABEL_VALUE.fullmatch(value) else hash_text("value", value)
