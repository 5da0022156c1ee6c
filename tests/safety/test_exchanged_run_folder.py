"""Recordings of root below a directory of another user, who replaces the run folder or its files
with links meanwhile.
"""

import contextlib
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import pandas as pd
import pytest

from perfscope.agent.profiler_windows.trace_store import TraceStore
from perfscope.errors import UsageError
from perfscope.traces.load import load_trace
from perfscope.traces.run_folder.folder import RunWriter
from perfscope.traces.run_folder.manifest import Manifest
from perfscope.traces.run_folder.stored import StoredRun
from perfscope.traces.written_tables import write_tables
from perfscope.ui.output_file import write_output
from tests.build import FACTS
from tests.safety.other_user import NOBODY, TARGET, folder_of_nobody, needs_root, waiting_process
from tests.target_processes import attach_and_act, source_statuses, until
from tests.ui.sample_traces import input_bound

pytestmark = needs_root

ROOT = Path(__file__).parents[2]
NAMES = ("manifest.json", "manifest.json.new", ".room", "pyspy-0-0.json")


class Kept:
    """A folder of root with a file that the other user wants to be overwritten, deleted or given
    away.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700)
        self.file = folder / "secret"
        self.file.write_text("root's\n")
        self.file.chmod(0o600)
        self.before = self.state()

    def state(self) -> list[tuple[str, int, int, bytes]]:
        """Return names, owners, modes and contents."""
        found = []
        for path in [self.folder, *sorted(self.folder.rglob("*"))]:
            about = path.lstat()
            text = path.read_bytes() if path.is_file() else b""
            found.append((str(path), about.st_uid, about.st_mode, text))
        return found


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "of_root")


@pytest.fixture
def foreign() -> Iterator[Path]:
    """Return a directory of another user, in which root records."""
    with folder_of_nobody() as place:
        yield place


@pytest.fixture(scope="module")
def pid() -> Iterator[int]:
    with waiting_process() as waiting:
        yield waiting


def as_other_user(act: Callable[[], object]) -> None:
    """Call `act` in a process of the other user."""
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            act()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def put_links(folder: Path, to: Path) -> None:
    """Put links to a file of root under every name that a recording writes."""
    for name in NAMES:
        (folder / name).symlink_to(to)
    for name in ("streams", "kineto"):
        (folder / name).symlink_to(to.parent)


def exchange(out: Path, kept: Kept, kind: str) -> None:
    """Move the run folder away and put `kind` in its place."""
    out.rename(out.with_name("moved"))
    if kind == "a link":
        out.symlink_to(kept.folder)
    elif kind == "a folder of links":
        out.mkdir()
        put_links(out, kept.file)


@pytest.mark.parametrize("kind", ["nothing", "a link", "a folder of links"])
def test_a_run_folder_that_is_replaced_during_a_recording_leads_to_no_other_file(
    pid: int, foreign: Path, kept: Kept, kind: str
) -> None:
    out, moved = foreign / "run", foreign / "moved"
    done = attach_and_act(pid, out, lambda: as_other_user(lambda: exchange(out, kept, kind)))
    assert kept.state() == kept.before
    assert done.returncode == 0 and "host" in source_statuses(json.loads(done.stdout))
    assert str(moved) in done.stderr
    stored = StoredRun.open(moved)
    assert (
        stored.manifest.finished
        and any(stored.rows("host.counters"))
        and stored.damaged_records == 0
    )
    if kind == "a folder of links":
        assert sorted(os.listdir(out)) == sorted((*NAMES, "streams", "kineto"))


def test_a_trace_is_stored_in_the_original_folder_after_it_was_replaced(
    foreign: Path, kept: Kept
) -> None:
    out = foreign / "run"
    run = RunWriter.create(out, msgspec.convert(FACTS, Manifest))
    store = TraceStore(run)
    as_other_user(lambda: exchange(out, kept, "a folder of links"))
    note: dict[str, object] = {"mono": 1, "real": 1}
    file = os.memfd_create("trace")
    os.write(file, b"{}")
    store.keep(file, note, TARGET)
    store.finish()
    run.close()
    assert kept.state() == kept.before and not store.trouble
    assert (foreign / "moved/kineto/rank0.json.gz").is_file()


def test_links_and_folders_of_another_user_are_refused_as_run_folders(
    foreign: Path, kept: Kept
) -> None:
    def prepare() -> None:
        (foreign / "link").symlink_to(kept.folder)
        (foreign / "folder").mkdir()
        (foreign / "nowhere").symlink_to(kept.folder / "new")

    as_other_user(prepare)
    manifest = msgspec.convert(FACTS, Manifest)
    for name, why in (("link", "is a link"), ("folder", "another user"), ("nowhere", "is a link")):
        with pytest.raises(UsageError, match=why):
            RunWriter.create(foreign / name, manifest)
    with pytest.raises(UsageError):
        RunWriter.create(foreign / "nowhere/run", manifest)
    assert kept.state() == kept.before and not list((foreign / "folder").iterdir())
    (foreign / "empty").mkdir()  # an empty folder of root is used
    RunWriter.create(foreign / "empty", manifest).close()
    assert load_trace(foreign / "empty").manifest.finished


def test_a_folder_that_is_replaced_as_soon_as_it_exists_leads_to_no_other_file(
    foreign: Path, kept: Kept
) -> None:
    """The other user moves each new folder away at once and puts a link in its place."""

    def replace_folders() -> None:
        number = 0
        while not os.path.exists(foreign / "ended"):
            number += 1
            with contextlib.suppress(OSError):
                os.rename(foreign / "run", foreign / f"away{number}")
                os.symlink(kept.folder, foreign / "run")

    child = os.fork()
    if not child:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        replace_folders()
        os._exit(0)
    refused = 0
    until_s = time.monotonic() + 1.5
    while time.monotonic() < until_s:
        try:
            run = RunWriter.create(foreign / "run", msgspec.convert(FACTS, Manifest))
            run.jsonl("host.states", 0).append({"ts": 1})
            run.close()
        except UsageError:
            refused += 1
        with contextlib.suppress(OSError):
            (foreign / "run").unlink()
    (foreign / "ended").touch()
    os.waitpid(child, 0)
    assert kept.state() == kept.before and refused > 0


def test_the_user_who_called_sudo_can_read_the_run_but_no_other_file(
    pid: int, foreign: Path, kept: Kept, tmp_path: Path
) -> None:
    out = foreign / "new/run"

    def put_links_into_run() -> None:
        for name in NAMES[1:]:
            with contextlib.suppress(FileExistsError):
                (out / name).symlink_to(kept.file)
        until(lambda: (out / "streams/host.counters@host").exists())
        for name in ("000000.jsonl", "000001.open"):
            with contextlib.suppress(FileExistsError):
                (out / "streams/host.counters@host" / name).symlink_to(kept.file)

    def read_all() -> None:
        for path in out.rglob("*"):
            assert path.is_symlink() or path.is_dir() or path.read_bytes() is not None
        shutil.rmtree(foreign / "new")

    ids = {"SUDO_UID": str(NOBODY), "SUDO_GID": str(NOBODY)}
    done = attach_and_act(pid, out, lambda: as_other_user(put_links_into_run), **ids)
    assert kept.state() == kept.before and done.returncode == 0
    assert StoredRun.open(out).manifest.finished
    owners = {path.lstat().st_uid for path in out.rglob("*")}
    assert owners == {NOBODY} and out.stat().st_uid == NOBODY
    as_other_user(read_all)


def test_only_the_owner_may_read_a_run_folder(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        run = RunWriter.create(tmp_path / "above/run", msgspec.convert(FACTS, Manifest))
        run.jsonl("host.states", 0).append({"ts": 1})
        run.close()
    finally:
        os.umask(before)
    for path in (tmp_path / "above/run", *(tmp_path / "above/run").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_a_report_is_not_written_through_a_link_of_another_user(foreign: Path, kept: Kept) -> None:
    def prepare() -> None:
        (foreign / "report.html").symlink_to(kept.file)
        (foreign / f".report.html.{os.getppid()}").symlink_to(kept.file)
        (foreign / "null.html").symlink_to("/dev/null")

    as_other_user(prepare)
    write_output(foreign / "report.html", "<html>")
    with pytest.raises(OSError, match="symbolic links"):
        write_output(foreign / "null.html", "<html>")
    write_output(Path("/dev/null"), "<html>")
    assert kept.state() == kept.before and stat.S_ISCHR(os.stat("/dev/null").st_mode)
    report = foreign / "report.html"
    assert report.read_text() == "<html>" and not report.is_symlink()


@needs_root
def test_a_pipe_of_another_user_gets_no_report(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for name, owner in (("theirs", NOBODY), ("ours", os.geteuid())):
        os.mkfifo(tmp_path / name)
        os.chown(tmp_path / name, owner, owner)
    with pytest.raises(PermissionError):
        write_output(tmp_path / "theirs", "<html>")
    reader = os.open(tmp_path / "ours", os.O_RDONLY | os.O_NONBLOCK)
    write_output(tmp_path / "ours", "<html>")
    assert os.read(reader, 100) == b"<html>"
    os.close(reader)


def test_an_export_folder_that_is_replaced_leads_to_no_other_file(tmp_path: Path) -> None:
    """The owner of the parent folder puts a folder of links in its place after the first table."""
    victim, folder = tmp_path / "victim", tmp_path / "export"
    victim.write_text("untouched")
    written: list[str] = []

    def write(name: str, frame: pd.DataFrame, file: BinaryIO) -> None:
        if not written:
            folder.rename(tmp_path / "moved")
            folder.mkdir()
            for link in ("README.md", "manifests.json", "steps.csv", "ops.csv"):
                (folder / link).symlink_to(victim)
        written.append(name)
        file.write(b"x")

    with pytest.raises(OSError):
        write_tables(input_bound(), folder, ".csv", write)
    assert victim.read_text() == "untouched" and len(written) > 1
    moved = {path.name for path in (tmp_path / "moved").iterdir()}
    assert {f"{name}.csv" for name in written} <= moved
