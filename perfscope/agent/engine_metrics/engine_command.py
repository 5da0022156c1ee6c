"""Recognizes an inference engine by its command line: its port, its path and its settings.

Only the options that are listed here are kept: others may hold secrets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from perfscope.agent.host.proc import decimal_number
from perfscope.traces.engine_metrics.names import ENGINE

Settings = dict[tuple[str, str], str]
ON: Final = "on"
LONGEST_VALUE: Final = 100


@dataclass(frozen=True)
class EngineCommand:
    """How an engine is started: programs and modules that name it, its options, its usual port.

    A program or module matches with the words after it, for example `vllm serve`. `settings` are
    the names under which options are kept; those in `switches` have no value.
    """

    engine: str
    programs: tuple[tuple[str, ...], ...]
    modules: tuple[str, ...]
    port_options: tuple[str, ...]
    usual_port: int
    settings: Mapping[str, str]
    switches: Mapping[str, str]
    needed_option: str = ""
    """The option without which the engine has no metrics page, "" where it always has one."""


@dataclass(frozen=True)
class RecognizedEngine:
    """An engine that a command line starts."""

    engine: str
    port: int
    settings: Settings
    missing_option: str = ""
    """The option that its metrics need and that the command line does not have."""

    @property
    def path(self) -> str:
        """Where its metrics page is."""
        return ENGINE[self.engine].path


VLLM_SETTINGS: Final = {
    "--max-num-seqs": "max-running",
    "--max-num-batched-tokens": "max-batched-tokens",
    "--max-model-len": "context",
    "--gpu-memory-utilization": "memory-share",
    "--num-gpu-blocks-override": "kv-blocks",
    "--kv-cache-dtype": "kv-type",
    "--tensor-parallel-size": "tensor-parallel",
    "-tp": "tensor-parallel",
    "--data-parallel-size": "data-parallel",
}
COMMANDS: Final = (
    EngineCommand(
        "vllm",
        (("vllm", "serve"),),
        ("vllm.entrypoints.openai.api_server", "vllm.entrypoints.api_server"),
        ("--port",),
        8000,
        VLLM_SETTINGS,
        {"--enforce-eager": "no-graphs"},
    ),
    EngineCommand(
        "sglang",
        (("sglang", "serve"),),
        ("sglang.launch_server",),
        ("--port",),
        30000,
        {
            "--max-running-requests": "max-running",
            "--chunked-prefill-size": "max-batched-tokens",
            "--context-length": "context",
            "--mem-fraction-static": "memory-share",
            "--kv-cache-dtype": "kv-type",
            "--cuda-graph-max-bs": "graph-batch",
            "--tp-size": "tensor-parallel",
            "--tp": "tensor-parallel",
            "--dp-size": "data-parallel",
        },
        {"--disable-cuda-graph": "no-graphs"},
        needed_option="--enable-metrics",
    ),
    EngineCommand(
        "llama-cpp",
        (("llama-server",),),
        (),
        ("--port",),
        8080,
        {
            "--parallel": "max-running",
            "-np": "max-running",
            "--ctx-size": "context",
            "-c": "context",
        },
        {},
        needed_option="--metrics",
    ),
    EngineCommand(
        "tgi",
        (("text-generation-launcher",), ("text-generation-router",)),
        (),
        ("--port", "-p"),
        3000,
        {"--max-batch-size": "max-running", "--max-batch-prefill-tokens": "max-batched-tokens"},
        {"--disable-cuda-graphs": "no-graphs"},
    ),
    EngineCommand("triton", (("tritonserver",),), (), ("--metrics-port",), 8002, {}, {}),
    EngineCommand(
        "tensorrt-llm",
        (("trtllm-serve",),),
        ("tensorrt_llm.commands.serve",),
        ("--port",),
        8000,
        {"--max_batch_size": "max-running", "--max_num_tokens": "max-batched-tokens"},
        {},
    ),
)


def recognize_engine(words: Sequence[str]) -> RecognizedEngine | None:
    """Return the engine that a command line starts, None where it starts none."""
    for command in COMMANDS:
        rest = words_after_name(words, command)
        if rest is not None:
            options = given_options(rest)
            missing = "" if command.needed_option in options else command.needed_option
            return RecognizedEngine(
                command.engine, port_of(options, command), kept_settings(options, command), missing
            )
    return None


def words_after_name(words: Sequence[str], command: EngineCommand) -> Sequence[str] | None:
    """Return the words after those that name the engine, None where none do.

    A program may be started by an interpreter: `python /usr/bin/vllm serve`.
    """
    for at, word in enumerate(words[:3]):
        for name, *further in command.programs:
            following = list(words[at + 1 : at + 1 + len(further)])
            if PurePath(word).name == name and following == further:
                return words[at + 1 + len(further) :]
    for at, word in enumerate(words[:-1]):
        if word == "-m" and words[at + 1] in command.modules:
            return words[at + 2 :]
    return None


def given_options(words: Sequence[str]) -> dict[str, str]:
    """Return the options in some words; the value of one without a value is `on`."""
    options: dict[str, str] = {}
    for at, word in enumerate(words):
        if not word.startswith("-") or is_numeric_word(word):
            continue
        name, equals, value = word.partition("=")
        following = words[at + 1] if at + 1 < len(words) else ""
        if not equals:
            takes_value = following and (
                not following.startswith("-") or is_numeric_word(following)
            )
            value = following if takes_value else ON
        options[name] = value[:LONGEST_VALUE]
    return options


def is_numeric_word(word: str) -> bool:
    """Return whether a word is a number, such as -1."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def port_of(options: Mapping[str, str], command: EngineCommand) -> int:
    """Return the port that the options name, else the usual one."""
    for name in command.port_options:
        port = decimal_number(options.get(name, ""))
        if port is not None and 0 < port < 65536:
            return port
    return command.usual_port


def kept_settings(options: Mapping[str, str], command: EngineCommand) -> Settings:
    """Return the settings among the options: name and option, and the value."""
    found: Settings = {}
    for name, value in options.items():
        # Engines in Python take `_` and `-` alike.
        dashed = "--" + name[2:].replace("_", "-") if name.startswith("--") else name
        for spelling in dict.fromkeys((name, dashed)):
            if spelling in command.settings and value != ON:
                found[command.settings[spelling], spelling] = value
                break
            if spelling in command.switches:
                found[command.switches[spelling], spelling] = ON
                break
    return found
