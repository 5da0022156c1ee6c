"""Characters that change how other text is shown, such as marks of direction and escape sequences:
in no name, no report, no export and no response of the dashboard.
"""

import json
import os
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from perfscope.traces.load import load_trace
from perfscope.traces.memory_snapshot import snapshot_command
from perfscope.traces.naming import path_text
from perfscope.traces.schema import TABLES
from perfscope.traces.shown_text import CONTROL, shown_text
from perfscope.ui.answer import STDOUT, AnswerOptions, answer_trace
from tests.safety import secret_files
from tests.safety.secret_files import SHOWN
from tests.safety.test_planted_secrets import responses, texts_of
from tests.ui.dashboard_client import DashboardClient

ODD = "a\u202eb\u2066c\u200fd\u061ce\u2028f\x1b]0;g\x07h\x9bi\u200bj\ufeffk\rl\U000e0041m"
PLAIN = "a?b?c?d?e?f?]0;g?h?i?j?k?l?m"
FILES = {"kineto": "run.json", "nsys": "run.sqlite", "run": "old.perfscope"}
FOUND = re.compile(rf"{CONTROL.pattern}|\\u(?:202[a-e]|206[0-9a-f]|200[ef]|061c|001b|0007|009b)")
"""Such a character, also as JSON writes it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one file of each kind with such characters in every name, its own name too."""
    place = tmp_path_factory.mktemp("odd")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secret_files, "PLANTED", [ODD] * 24)
        secret_files.kineto(place / f"{ODD}{FILES['kineto']}")
        secret_files.nsys(place / f"{ODD}{FILES['nsys']}")
        secret_files.old_run(place / f"{ODD}{FILES['run']}", patch)
    return place


def path_of(folder: Path, kind: str) -> Path:
    return folder / f"{ODD}{FILES[kind]}"


@pytest.mark.parametrize("kind", FILES)
def test_no_name_of_a_trace_has_controls(folder: Path, kind: str) -> None:
    trace, shown = load_trace(path_of(folder, kind)), 0
    for name in TABLES:
        table = trace.table(name)
        for column in [] if table is None else table.select_dtypes("category"):
            assert isinstance(table, pd.DataFrame)
            words = "\n".join(map(str, table[column].cat.categories))
            shown += words.count(PLAIN)
            assert (name, column) == ("ranks", "source") or not CONTROL.search(words)
    assert shown > 5 and not CONTROL.search(str(trace.manifests))


@pytest.mark.parametrize("kind", FILES)
def test_no_control_is_in_the_report_and_the_json(
    folder: Path, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace, report = load_trace(path_of(folder, kind)), tmp_path / "report.html"
    answer_trace(trace, AnswerOptions(html=report, json=STDOUT))
    text = report.read_text()
    assert SHOWN in text and PLAIN in text and not CONTROL.search(text)
    printed = json.loads(capsys.readouterr().out)
    printed.pop("run")  # the path that the user gave
    assert not CONTROL.search(json.dumps(printed, ensure_ascii=False))


@pytest.mark.parametrize("kind", FILES)
def test_no_control_is_in_an_export(folder: Path, kind: str, tmp_path: Path) -> None:
    from perfscope.traces.exporting import export
    from perfscope.traces.writers import WRITERS

    trace = load_trace(path_of(folder, kind))
    for writer in WRITERS:
        path = tmp_path / f"{writer.name}{writer.suffix}"
        export(trace, writer, path)
        text = texts_of(path).replace(path_text(path_of(folder, kind)), "")  # that the user gave
        assert PLAIN in text and "\u202e" not in text, writer.name


def test_no_control_is_in_a_response_of_the_dashboard(folder: Path) -> None:
    (folder / f"{ODD}broken.json").write_text('{"traceEvents": [')
    board = DashboardClient(folder)
    runs = board.library.runs()
    assert len(runs) == len(FILES) + 1
    found = {"list": json.dumps(board.page("/"))}
    for run in runs:
        if "broken" in run.name:
            found["broken"] = json.dumps(board.page(f"/run/{run.id}/"))
        else:
            read = responses(board, run.id)
            found |= {path: text for path, text in read.items() if "/tile?" not in path}
    board.verdicts.close()
    assert sum(PLAIN in text for text in found.values()) > 9
    assert {path: FOUND.search(text) for path, text in found.items() if FOUND.search(text)} == {}


def test_ordinary_text_stays() -> None:
    for text in ("aten::mm", "naïve 数据 ", "a\nb\tc", "👩\u200d💻", "می\u200cخواهم", "1\xa0ms"):
        assert shown_text(text) == text


@pytest.mark.parametrize("name", ["a b;id.pickle", "$(id).pickle", "-o.pickle", "a'b.pickle"])
def test_commands_to_copy_are_quoted(name: str, tmp_path: Path) -> None:
    words = shlex.split(snapshot_command(tmp_path / name))
    assert os.path.normpath(words[-3]) == name and not words[-3].startswith("-")
    assert len(words) == 7
