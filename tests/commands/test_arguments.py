"""The arguments of each command as a dataclass: every option has a field, of the annotated type."""

import argparse
import dataclasses
import json
import re
import signal
import subprocess
import types
from pathlib import Path
from types import ModuleType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

from perfscope.agent.profiler_windows.window import Window
from perfscope.cli import arguments_of_command, name_of, parser
from perfscope.commands import COMMANDS
from perfscope.commands.attach import AttachArguments, recording_options
from perfscope.traces.run_folder.stored import read_manifest
from tests.target_processes import end, perfscope, start

LINES = [
    "analyze run trace.json --json --no-cache --html r.html --dask tcp://127.0.0.1:1 --insecure",
    "analyze run --json=d.json",
    "analyze run",
    "attach",
    "attach 7",
    "attach 7 --keep 3 --ignore host-sync,straggler --redact --json=d.json --ui --port 0",
    (
        "attach 7 --duration 3 --max-duration 2m --all-ranks --job-id j --depth kernels --window"
        " steps=5 --every 9 --window-stacks --window-stall 100 --out d --json --html r.html --ui"
        " --steered --follow"
    ),
    (
        "run --duration 3 --depth probe --job-id j --window seconds=2 --out d --json=r.json --html"
        " r.html -- python train.py"
    ),
    "run true",
    "top 1 2 --interval 0.5 --count 3 --json",
    "top",
    "ps --json",
    "doctor --json --calibrate --python /usr/bin/python3 --threads 2 --force",
    "doctor",
    "ui runs --live 7 --port 0 --host 0.0.0.0 --base-path /p --ignore host-sync",
    "ui --no-token",
    "report run -o r.html --json --slo ttft_p99=1s",
    "export run --to csv -o out --force --redact",
    "explain input-bound",
    "explain",
]


def parsed(line: str) -> Any:
    return arguments_of_command(parser().parse_args(line.split()))


def fits(value: object, kind: Any) -> bool:
    """Return whether the value is of the type."""
    if get_origin(kind) in (Union, types.UnionType):
        return any(fits(value, entry) for entry in get_args(kind))
    if get_origin(kind) is list:
        return isinstance(value, list) and all(fits(entry, get_args(kind)[0]) for entry in value)
    return type(value) is type(Path()) if kind is Path else type(value) is kind


@pytest.mark.parametrize("line", LINES)
def test_parsed_arguments_have_the_annotated_types(line: str) -> None:
    args = parsed(line)
    hints = get_type_hints(type(args), {"Window": Window})
    wrong = [name for name, kind in hints.items() if not fits(getattr(args, name), kind)]
    assert wrong == []
    field = next(iter(hints))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(args, field, None)


@pytest.mark.parametrize("command", COMMANDS, ids=name_of)
def test_every_option_has_a_field_and_every_field_an_option(command: ModuleType) -> None:
    only_this = argparse.ArgumentParser(add_help=False)
    command.add_arguments(only_this)
    options = {entry.dest for entry in only_this._actions} | set(only_this._defaults)
    assert options == {field.name for field in dataclasses.fields(command.ARGUMENTS)}
    assert {line.split()[0] for line in LINES} >= {name_of(command)}


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--window steps=5",
        "--window seconds=2.5 --every 7 --follow --window-stacks --window-stall 12.5",
        "--duration 0.25 --max-duration 3h --all-ranks --job-id=-odd --depth kernels --json --ui",
        "--depth observe",
    ],
)
def test_the_recording_process_gets_the_same_arguments(options: str) -> None:
    asked = parsed(f"attach 7 {options}")
    again = arguments_of_command(parser().parse_args(["attach", "7", *recording_options(asked)]))
    of_this_process = {"json": None, "ui": False, "html": None, "out": None, "steered": False}
    assert again == dataclasses.replace(asked, **of_this_process)
    assert isinstance(again, AttachArguments)


@pytest.mark.parametrize(
    ("command", "option"), [("analyze", "--json[=FILE]"), ("run", "--json=FILE")]
)
def test_the_help_shows_that_json_takes_a_file_only_after_an_equals_sign(
    command: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args([command, "--help"])
    text = capsys.readouterr().out
    assert f"  {option} " in text and "--json FILE" not in text


def test_attach_with_a_dashboard_takes_a_window(tmp_path: Path) -> None:
    target = start("looping.py", tmp_path)
    out = tmp_path / "run.perfscope"
    command = perfscope(
        "attach",
        target.pid,
        "--ui",
        "--window",
        "steps=3",
        "--duration",
        "4",
        "--json",
        "--out",
        out,
    )
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            lines = iter(process.stdout.readline, "")
            address = next(lines)
            token = re.fullmatch(r"http://127\.0\.0\.1:\d+/live\?token=(\S{40,})\n", address)
            assert token, process.stderr.read()
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            seen = [
                Path(f"/proc/{pid}/cmdline").read_bytes() for pid in [str(process.pid), *children]
            ]
            assert not [line for line in seen if token[1].encode() in line]
            output = "".join(line for line in lines_until(lines, "the page stays at"))
        finally:
            process.send_signal(signal.SIGINT)
            end(target)
        rest = process.stderr.read()
        assert process.wait(30) == 0, rest
    assert token[1] not in rest
    answer = json.loads(output[output.index("{") : output.rindex("}") + 1])
    assert {entry["name"]: entry["status"] for entry in answer["sources"]}["kernels"] == "ok"
    assert read_manifest(out).finished


def lines_until(lines: Any, last: str) -> Any:
    """Yield the lines before the one that begins with `last`."""
    for line in lines:
        if line.startswith(last):
            return
        yield line
