"""Escape sequences in the names of programs and files: none of them reaches the terminal, and no
line can be forged.
"""

import contextlib
import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfscope.ui.json_text import json_text
from perfscope.ui.output_file import write_output
from perfscope.ui.terminal.output import (
    FilteredStream,
    clean_text,
    filtered_console,
    one_line,
    print_line,
    unfiltered,
)
from tests.target_processes import perfscope, until
from tests.ui.kineto_files import events, small_trace
from tests.ui.recorded import recorded_run

EVIL = "a\x1b[2J\x1b]0;owned\x07\rb\x08\x7f\x9b31m\x85\u202ec\u2066d\u2028e"
NAME = f"{EVIL}\nperfscope: forged"
COLORS = re.compile(r"\x1b\[[0-9;]*m")
BUSY = "import sys, time\nprint('ready', flush=True)\nwhile True: time.sleep(0.01)\n"


def harmful(text: str) -> set[str]:
    """Return the characters of a text that are neither printable nor a newline."""
    return {letter for letter in text if not letter.isprintable()} - {"\n"}


def forged_lines(text: str) -> list[str]:
    """Return the lines that look as if perfscope had printed them."""
    return [line for line in text.splitlines() if line.startswith("perfscope: forged")]


def run(*arguments: str | bytes | Path, code: int | None = None) -> str:
    """Return what a command prints to stdout and stderr."""
    words = [os.fsencode(word) for word in [*perfscope(), *arguments]]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=90)
    text = done.stdout.decode()
    assert code is None or done.returncode == code, text
    assert "Traceback" not in text
    return text


def on_terminal(*arguments: str | bytes | Path) -> str:
    """Return what a command prints on a terminal, without its colors."""
    master, terminal = pty.openpty()
    words = [os.fsencode(word) for word in [*perfscope(), *arguments]]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "200"}
    process = subprocess.Popen(
        words, stdin=terminal, stdout=terminal, stderr=terminal, env=environment
    )
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # EIO at the end of the output
        while piece := os.read(master, 1 << 16):
            shown += piece
    os.close(master)
    assert process.wait(90) == 0
    return COLORS.sub("", shown.decode()).replace("\r\n", "\n")


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[int]:
    """Yield the pid of a Python program with escape sequences in its file name and arguments."""
    script = tmp_path / f"{NAME}.py"
    script.write_text(BUSY)
    with subprocess.Popen(
        [sys.executable, script, EVIL], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process.pid
        process.kill()


def test_ps_and_top_show_the_name_of_a_hostile_program_on_one_line(hostile: int) -> None:
    listed = run("ps", code=0)
    assert harmful(listed) == set()
    (line,) = [line for line in listed.splitlines() if line.split()[:1] == [str(hostile)]]
    assert line.endswith("forged.py")
    processes = json.loads(run("ps", "--json", code=0))
    scripts = {process["pid"]: process["script"] for process in processes}
    assert scripts[hostile].endswith(f"{NAME}.py")
    top = ("top", str(hostile), "--count", "1", "--interval", "0.2")
    for text in (run(*top, code=0), on_terminal("ps")):
        assert harmful(text) == set() and not forged_lines(text)
    printed = run(*top, "--json", code=0)
    assert harmful(printed) == set() and json.loads(printed)["processes"][0]["pid"] == hostile


def test_top_on_a_terminal_writes_no_cursor_codes_of_a_hostile_program(hostile: int) -> None:
    text = on_terminal("top", str(hostile), "--count", "2", "--interval", "0.2")
    cursor_codes = re.compile(r"\x1b\[(\?25[lh]|\d*A|1?2?K)|\r")
    assert str(hostile) in text and "owned" in text and harmful(cursor_codes.sub("", text)) == set()


def test_an_error_about_a_hostile_program_is_one_harmless_line(tmp_path: Path) -> None:
    program = tmp_path / NAME
    shutil.copy(shutil.which("sleep") or "", program)
    process = subprocess.Popen([program, "60"])
    try:
        until(lambda: os.readlink(f"/proc/{process.pid}/exe") == str(program))
        text = run("attach", str(process.pid), "--out", tmp_path / "run", code=2)
    finally:
        process.kill()
        process.wait()
    assert harmful(text) == set() and text.count("\n") == 1 and str(process.pid) in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("attach", "7", f"--{NAME}"),
        (NAME,),
        ("attach", NAME),
        ("attach", "1", "--window", NAME),
        ("explain", NAME),
        ("analyze", f"/nowhere/{NAME}"),
        ("analyze", b"/nowhere/\xff\xfe\x1b[2J"),
        ("report", "/usr", "-o", NAME),
        ("ui", NAME),
        ("ui", "--host", NAME, "--no-token"),
        ("export", NAME, "--to", "csv"),
        ("--debug", "analyze", f"/nowhere/{NAME}"),
    ],
)
def test_hostile_arguments_are_printed_without_control_characters(
    arguments: tuple[str | bytes, ...],
) -> None:
    debugged = arguments[0] == "--debug"
    words = [os.fsencode(word) for word in [*perfscope(), *arguments]]
    done = subprocess.run(words, capture_output=True, timeout=90)
    text = (done.stdout + done.stderr).decode()
    assert done.returncode == (1 if debugged else 2) and harmful(text) == set()
    assert ("Traceback" in text) == debugged and (debugged or text.count("\n") == 1)


@pytest.fixture
def evil_trace(tmp_path: Path) -> Path:
    """Return a trace with hostile names, also of its file and folder."""
    rows = [
        {**event, "name": EVIL + event["name"]} if event["cat"] != "user_annotation" else event
        for event in events(30)
    ]
    rows += [
        {"ph": "M", "pid": 7, "tid": 7, "name": name, "args": {"name": NAME}}
        for name in ("thread_name", "process_name")
    ]
    folder = tmp_path / NAME
    folder.mkdir()
    return small_trace(folder / f"{NAME}.json", rows)


def test_a_trace_with_hostile_names_is_analyzed_without_printing_control_characters(
    evil_trace: Path, tmp_path: Path
) -> None:
    for text in (run("analyze", evil_trace, code=0), on_terminal("analyze", evil_trace)):
        assert harmful(text) == set() and not forged_lines(text)
        assert len(text.splitlines()) > 5
    printed = run("analyze", evil_trace, "--json", code=0)
    assert harmful(printed) == set() and json.loads(printed)["run"] == str(evil_trace)
    out = tmp_path / f"{NAME}.pftrace"
    exported = run("export", evil_trace, "--to", "perfetto", "-o", out, code=0)
    assert harmful(exported) == set() and exported.count("\n") == 1


def test_a_run_folder_whose_name_is_not_text_is_analyzed(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe\x1b[2J.perfscope"))
    recorded_run(folder)
    for words in (("analyze", folder), ("report", folder, "-o", tmp_path / "r.html")):
        assert harmful(run(*words, code=0)) == set()
    printed = run("analyze", folder, "--json", code=0)
    assert harmful(printed) == set() and "\\xff\\xfe\x1b[2J" in json.loads(printed)["run"]


def test_a_file_with_a_name_that_is_not_text_is_written(tmp_path: Path) -> None:
    named = f"of {os.fsdecode(b'rank-%cx%c' % (0xFF, 0xFE))}, \u00e9"
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE)
    for written in (tmp_path / "report.html", tmp_path / "pipe"):
        write_output(written, named)
    assert (tmp_path / "report.html").read_text() == "of rank-?x?, \u00e9"
    assert reader.communicate(timeout=60)[0].decode() == "of rank-?x?, \u00e9"


def test_every_kind_of_control_character_is_printed_as_a_question_mark() -> None:
    controls = [*map(chr, range(32)), *map(chr, range(127, 160)), *map(chr, range(0x202A, 0x202F))]
    controls += [
        *map(chr, range(0x2066, 0x206A)),
        "\u200e",
        "\u200f",
        "\u2028",
        "\u2029",
        "\ud800",
        "\udcff",
        "\U000e0001",
        "\ufeff",
    ]
    for letter in controls:
        assert one_line(f"a{letter}b") == "a?b"
        assert clean_text(f"a{letter}b") == ("a?b" if letter not in "\n\t" else f"a{letter}b")
    plain = "a µs ▒ — 张 🚀 ⇧ é"
    assert one_line(plain) == plain


def test_every_method_of_a_stream_removes_control_characters() -> None:
    under = io.StringIO()
    stream = FilteredStream(under)  # type: ignore[arg-type]
    print(EVIL, file=stream)
    stream.writelines([EVIL, "\n"])
    print_line(NAME, stream)  # type: ignore[arg-type]
    assert harmful(under.getvalue()) == set() and under.getvalue().count("\n") == 3
    unfiltered(stream).write("\x1b[2K")  # type: ignore[arg-type]
    assert "\x1b[2K" in under.getvalue()


def test_a_console_keeps_its_styles_and_removes_control_characters_from_texts() -> None:
    from rich.table import Table
    from rich.text import Text

    under = io.StringIO()
    console = filtered_console(under, force_terminal=True, color_system="standard", width=200)
    table = Table(title=EVIL)
    table.add_column(Text(EVIL), style="red")
    table.add_row(EVIL, end_section=True)
    console.print(table, EVIL, Text(EVIL, style="bold"), f"[red]{EVIL}")
    shown = under.getvalue()
    assert "\x1b[31m" in shown and harmful(COLORS.sub("", shown)) == set() and "[red]" in shown


def test_json_is_valid_and_contains_the_original_text() -> None:
    text = json_text(
        {"name": NAME, "half": "\ud800x", "far": "\U000e0001", "list": [("\udcff", 1)]}
    )
    assert harmful(text) == set()
    assert json.loads(text) == {
        "name": NAME,
        "half": "\ufffdx",
        "far": "\U000e0001",
        "list": [["\ufffd", 1]],
    }
    assert harmful(json_text([NAME], indent=2)) == set()


@pytest.mark.parametrize("columns", ["0", "00", "-3", "x", "²", "9" * 30])
def test_an_odd_size_of_the_terminal_changes_nothing(columns: str) -> None:
    stream = io.StringIO()
    # pytest reads these variables, too, when the test has ended.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", columns)
        patch.setenv("LINES", columns)
        console = filtered_console(stream)
        console.print("words")
        printed = stream.getvalue(), console.width
    assert printed == ("words\n", 80)
