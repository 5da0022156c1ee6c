"""`--redact`: no output has a name of the user, and the diagnosis stays the same."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from perfscope.traces.load import load_trace
from perfscope.traces.privacy.redacted_trace import redacted_trace
from perfscope.traces.schema import TABLES
from tests.commands.calling import call
from tests.commands.conftest import ANIMALS, Recording

FORMATS = ("perfetto", "speedscope", "parquet", "csv")


def content_of(path: Path) -> str:
    """Return the decompressed bytes of a file or folder as text."""
    files = [path] if path.is_file() else sorted(path.iterdir())
    contents = [file.read_bytes() for file in files]
    unpacked = [gzip.decompress(each) if each[:2] == b"\x1f\x8b" else each for each in contents]
    return b"\n".join(unpacked).decode("latin-1")


def leaks(text: str, folder: Path) -> list[str]:
    names = [*ANIMALS, str(folder)]
    return [name for name in names if name.lower() in text.lower()]


def without_texts(value: Any) -> Any:
    """Return the value with every text replaced, to compare only numbers and ids."""
    if isinstance(value, dict):
        kept = ("id", "cause", "category", "severity", "unit", "status")
        return {
            key: inner if key in kept else without_texts(inner)
            for key, inner in value.items()
            if key not in ("run", "dropped", "operators")
        }
    if isinstance(value, list):
        return [without_texts(inner) for inner in value]
    return "text" if isinstance(value, str) else value


def test_outputs_have_the_names_without_redaction(recording: Recording, tmp_path: Path) -> None:
    call("export", recording.run_folder, "--to", "csv", "-o", tmp_path / "csv")
    found = leaks(content_of(tmp_path / "csv"), recording.folder)
    assert {"zebra", "axolotl", "capybara", "gecko", "okapi", "coati"} <= set(found)
    printed = call("analyze", recording.run_folder).stdout
    assert "zebra" in printed


@pytest.mark.parametrize("command", ["analyze --json", "analyze", "report"])
def test_no_name_is_left_in_a_diagnosis(command: str, recording: Recording, tmp_path: Path) -> None:
    name, *options = command.split()
    more = ["-o", tmp_path / "r.html"] if name == "report" else ["--html", tmp_path / "r.html"]
    done = call(name, recording.run_folder, "--redact", *options, *more)
    assert done.returncode == 0, done.stderr
    assert leaks(done.stdout + done.stderr, recording.folder) in ([], [str(tmp_path)])
    assert leaks(content_of(tmp_path / "r.html"), recording.folder) == []


@pytest.mark.parametrize("to", FORMATS)
def test_no_name_is_left_in_an_export(to: str, recording: Recording, tmp_path: Path) -> None:
    done = call("export", recording.run_folder, "--to", to, "--redact", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert leaks(content_of(tmp_path / "out"), recording.folder) == []


def test_the_diagnosis_is_the_same_and_the_hashes_are_stable(recording: Recording) -> None:
    plain = json.loads(call("analyze", recording.run_folder, "--json").stdout)
    first = call("analyze", recording.run_folder, "--json", "--redact").stdout
    assert without_texts(json.loads(first)) == without_texts(plain)
    assert call("analyze", recording.run_folder, "--json", "--redact").stdout == first


def test_tables_keep_their_columns_and_rows(recording: Recording) -> None:
    trace = load_trace(recording.run_folder)
    redacted = redacted_trace(trace)
    for name in TABLES:
        table, other = trace.table(name), redacted.table(name)
        assert (table is None) == (other is None), name
        if table is not None and other is not None:
            assert table.dtypes.astype(str).to_dict() == other.dtypes.astype(str).to_dict()
            assert len(table) == len(other)
    assert redacted.path is None
