"""Traces and runs with secrets in every text field: no secret is in a report, an export, the
terminal, the dashboard or the cache.
"""

import gzip
import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.feather as feather
import pyarrow.parquet as parquet
import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.commands.export import FORMATS
from perfscope.traces.cache.cache_folder import user_cache
from perfscope.traces.kineto import trace_file
from perfscope.traces.load import load_trace
from perfscope.traces.schema import TABLES
from perfscope.ui.answer import STDOUT, AnswerOptions, answer_trace
from perfscope.ui.answer_cache import FileToRead
from perfscope.ui.dashboard.pages import PAGES
from tests.safety import secret_files
from tests.safety.secret_files import SHOWN
from tests.safety.secret_samples import CORE
from tests.target_processes import perfscope
from tests.ui.dashboard_client import AT_ADDRESS, DashboardClient

KINDS = ("kineto", "nsys", "run", "old run")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one file of each kind."""
    files = tmp_path_factory.mktemp("planted")
    secret_files.kineto(files / "kineto.json")
    secret_files.nsys(files / "nsys.sqlite")
    secret_files.run(files / "run.perfscope")
    with pytest.MonkeyPatch.context() as patch:
        secret_files.old_run(files / "old.perfscope", patch)
    return files


def path_of(folder: Path, kind: str) -> Path:
    names = {
        "kineto": "kineto.json",
        "nsys": "nsys.sqlite",
        "run": "run.perfscope",
        "old run": "old.perfscope",
    }
    return folder / names[kind]


def leaks(text: str) -> list[str]:
    """Return where a secret is in the text: some letters before and after it."""
    lowered, found, at = text.lower(), [], 0
    while (at := lowered.find(CORE.lower(), at)) >= 0:
        found.append(text[max(at - 60, 0) : at + 20])
        at += 1
    return found


def texts_of(path: Path) -> str:
    """Return everything in a file or a folder as text: tables cell by cell, all else as bytes."""
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    parts = []
    for file in files:
        if file.suffix in (".parquet", ".arrow") and "streams" not in file.parts:
            read = (
                parquet.read_table(file) if file.suffix == ".parquet" else feather.read_table(file)
            )
            parts.append(json.dumps(read.to_pydict(), default=str) + str(read.schema.metadata))
        data = file.read_bytes()
        parts.append(
            (gzip.decompress(data) if file.suffix == ".gz" else data).decode("utf-8", "replace")
        )
    return "\n".join(parts)


def run_command(folder: Path, *words: str | Path) -> str:
    """Run a command, and return all that it prints."""
    env = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "COLUMNS": "200"}
    done = subprocess.run(
        perfscope(*map(str, words)), capture_output=True, text=True, timeout=90, env=env, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_planted_files_contain_secrets(folder: Path) -> None:
    """Without secrets in the files, the other tests would show nothing."""
    for kind in ("kineto", "nsys", "old run"):
        assert len(leaks(texts_of(path_of(folder, kind)))) > 100


def test_the_agent_writes_no_secret_into_a_run_folder(folder: Path) -> None:
    whole = texts_of(path_of(folder, "run"))
    assert SHOWN in whole and leaks(whole) == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_is_in_a_trace_that_was_read(folder: Path, kind: str) -> None:
    trace = load_trace(path_of(folder, kind))
    shown = 0
    for name in TABLES:
        table = trace.table(name)
        for column in [] if table is None else table.select_dtypes("category"):
            assert table is not None
            words = [str(word) for word in table[column].cat.categories]
            shown += sum(SHOWN in word for word in words)
            assert leaks("\n".join(words)) == [], (name, column)
    assert shown > 50 and leaks(str(trace.manifests)) == []
    assert leaks(str([trace.why_absent(name) for name in TABLES])) == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_is_in_the_terminals_text_the_json_or_the_report(
    folder: Path, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace, report = load_trace(path_of(folder, kind)), tmp_path / "report.html"
    answer_trace(trace, AnswerOptions(html=report))
    answer_trace(trace, AnswerOptions(json=STDOUT))
    printed, text = capsys.readouterr(), report.read_text()
    assert "bound" in printed.out and leaks(printed.out + printed.err) == []
    assert SHOWN in text and leaks(text) == []


def test_the_command_prints_no_secret(folder: Path, tmp_path: Path) -> None:
    assert leaks(run_command(tmp_path, "analyze", path_of(folder, "old run"), "--no-cache")) == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_is_in_an_export(folder: Path, kind: str, tmp_path: Path) -> None:
    from perfscope.traces.exporting import export
    from perfscope.traces.writers import WRITERS

    trace = load_trace(path_of(folder, kind))
    assert [writer.name for writer in WRITERS] == list(FORMATS)
    shown = {}
    for writer in WRITERS:
        path = tmp_path / f"{writer.name}{writer.suffix}"
        export(trace, writer, path)
        text = texts_of(path)
        shown[writer.name] = SHOWN in text
        assert leaks(text) == [], writer.name
    assert all(shown[name] for name in ("perfetto", "parquet", "csv"))


def test_no_secret_is_in_the_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from perfscope.traces.reading_options import reading

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(trace_file, "WORTH_KEEPING", 0)
    path = path_of(folder, "kineto")
    with reading(None, use_cache=True):
        trace = load_trace(path)
    for thread in threading.enumerate():
        if thread.name == "perfscope-keep":
            thread.join()
    answer_trace(trace, AnswerOptions(json=STDOUT), kept_for=FileToRead.of(path))
    cache = user_cache()
    assert cache is not None
    names = {file.name for file in cache.rglob("*") if file.is_file()}
    assert {"about.json", "ops.arrow"} <= names and any(cache.joinpath("answers").iterdir())
    text = texts_of(cache)
    assert SHOWN in text and leaks(text) == []


@pytest.fixture(scope="module")
def dashboard(folder: Path) -> Any:
    dashboard = DashboardClient(folder)
    yield dashboard
    dashboard.verdicts.close()


def responses(dashboard: DashboardClient, run: str) -> dict[str, str]:
    """Return the responses of the dashboard for a run, by address: its pages, its report, its
    timeline.
    """
    found = {
        f"page {page.path}": json.dumps(dashboard.page(f"/run/{run}/{page.path}")) for page in PAGES
    }
    base, trace = f"/timeline/{run}", dashboard.library.get(run).trace
    begin, end = trace.span_ns
    meta = dashboard.client.get(f"{base}/meta", **AT_ADDRESS)
    lanes = max(sum(track[4] for track in meta.get_json()["tracks"]), 1)
    window = f"from={begin}&to={end + 1}&lanes=0-{lanes - 1}"
    paths = [
        f"{base}/meta",
        f"{base}/names?first=0&count=500",
        f"{base}/strip?columns=8",
        f"/run/{run}.html",
    ]
    paths += [f"{base}/select?{window}&most=200&by={by}" for by in ("name", "category")]
    paths += [f"{base}/tile?{window}&pixels=400"]
    paths += [f"{base}/search?words={word}" for word in (SHOWN, CORE)]
    paths += [
        f"{base}/event?lane={lane}&at={at}"
        for lane in range(lanes)
        for at in np.linspace(begin, end, 9).astype(int)
    ]
    for path in paths:
        answer = dashboard.client.get(path, **AT_ADDRESS)
        assert answer.status_code == 200, (path, answer.data[:200])
        found[path] = answer.data.decode("utf-8", "replace")
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_is_in_a_response_of_the_dashboard(
    dashboard: DashboardClient, folder: Path, kind: str
) -> None:
    run = next(each for each in dashboard.library.runs() if each.path == path_of(folder, kind))
    found = responses(dashboard, run.id)
    assert sum(SHOWN in text for text in found.values()) > 3
    echo = f"/timeline/{run.id}/search?words={CORE}"
    assert {path: leaks(text) for path, text in found.items() if leaks(text) and path != echo} == {}
    assert json.loads(found[echo])["count"] == 0


def test_no_secret_is_in_the_list_of_runs(dashboard: DashboardClient) -> None:
    assert leaks(json.dumps(dashboard.page("/"))) == []


def test_live_views_show_no_secret(folder: Path) -> None:
    from perfscope.traces.run_folder.growing import GrowingRun
    from perfscope.traces.run_folder.tables import trace_of

    growing = GrowingRun(path_of(folder, "old run"), 10**15)
    growing.update()
    trace = trace_of(growing)
    diagnosis = diagnose_trace(trace)
    assert leaks(str(trace.manifests)) == [] and leaks(str(diagnosis)) == []
    ranges = trace.table("ranges")
    assert ranges is not None and leaks("\n".join(map(str, ranges["name"].cat.categories))) == []
