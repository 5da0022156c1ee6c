"""Root records below a directory of another user's, who exchanges the run folder or what is in it
for links meanwhile.
"""

import contextlib
import json
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pandas as pd
import pytest

from perfscope.agent.profiler_windows.trace_store import TraceStore
from perfscope.errors import UsageError
from perfscope.traces.load import load_trace
from perfscope.traces.run.folder import RunWriter
from perfscope.traces.run.manifest import Manifest
from perfscope.traces.run.stored import StoredRun
from perfscope.traces.written_tables import write_tables
from perfscope.ui.output_file import write_output
from tests.build import FACTS
from tests.running import perfscope, until
from tests.safety.strangers import NOBODY, TARGET, needs_root, waiting_process
from tests.ui.runs import input_bound

pytestmark = needs_root

ROOT = Path(__file__).parents[2]
NAMES = ("manifest.json", "manifest.json.new", ".room", "pyspy-0-0.json")


class Kept:
    """A folder of root's with a file that the stranger wants overwritten, deleted, or given to
    them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700)
        self.file = folder / "secret"
        self.file.write_text("root's\n")
        self.file.chmod(0o600)
        self.before = self.state()

    def state(self) -> list[tuple[str, int, int, bytes]]:
        """Names, owners, modes and contents."""
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
def theirs() -> Iterator[Path]:
    """A directory of the stranger's, in which root is to record."""
    place = Path(
        subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip()
    )
    os.chown(place, NOBODY, NOBODY)
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def pid() -> Iterator[int]:
    with waiting_process() as waiting:
        yield waiting


def as_stranger(act: Callable[[], object]) -> None:
    """Do something in a process of the stranger's."""
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


def links(folder: Path, to: Path) -> None:
    """Put links to a file of root's under every name that a recording writes."""
    for name in NAMES:
        (folder / name).symlink_to(to)
    for name in ("streams", "kineto"):
        (folder / name).symlink_to(to.parent)


def exchange(out: Path, kept: Kept, kind: str) -> None:
    """Move the run folder away and put something else in its place."""
    out.rename(out.with_name("moved"))
    if kind == "a link":
        out.symlink_to(kept.folder)
    elif kind == "a folder of links":
        out.mkdir()
        links(out, kept.file)


def attached(
    pid: int, out: Path, act: Callable[[], object], **env: str
) -> "subprocess.CompletedProcess[str]":
    """Attach for a second and a half as root, and `act` once the run folder is there."""
    options = ["--depth", "observe", "--duration", "1.5", "--json", "--out", out]
    command = perfscope("attach", str(pid), *options)
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(
        command, cwd=ROOT, text=True, env={**os.environ, **env}, **pipes
    ) as process:
        until(lambda: (out / "manifest.json").exists())
        act()
        said, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return subprocess.CompletedProcess(command, process.returncode, said, err)


@pytest.mark.parametrize("kind", ["nothing", "a link", "a folder of links"])
def test_a_run_folder_that_is_exchanged_while_it_grows(
    pid: int, theirs: Path, kept: Kept, kind: str
) -> None:
    out, moved = theirs / "run", theirs / "moved"
    done = attached(pid, out, lambda: as_stranger(lambda: exchange(out, kept, kind)))
    assert kept.state() == kept.before
    assert (
        done.returncode == 0
        and {source["name"]: source["status"] for source in json.loads(done.stdout)["sources"]}[
            "host"
        ]
    )
    assert str(moved) in done.stderr
    stored = StoredRun.open(moved)
    assert stored.manifest.finished and any(stored.rows("host.counters")) and stored.torn == 0
    assert (
        not out.is_dir()
        or kind != "a folder of links"
        or sorted(os.listdir(out)) == sorted((*NAMES, "streams", "kineto"))
    )


def test_a_trace_that_is_stored_after_the_exchange(theirs: Path, kept: Kept) -> None:
    out = theirs / "run"
    run = RunWriter.create(out, msgspec.convert(FACTS, Manifest))
    store = TraceStore(run)
    as_stranger(lambda: exchange(out, kept, "a folder of links"))
    note: dict[str, object] = {"mono": 1, "real": 1}
    file = os.memfd_create("trace")
    os.write(file, b"{}")
    store.keep(file, note, TARGET)
    store.finish()
    run.close()
    assert kept.state() == kept.before and not store.trouble
    assert (theirs / "moved/kineto/rank0.json.gz").is_file()


def test_a_place_that_was_prepared_is_refused(theirs: Path, kept: Kept) -> None:
    def prepare() -> None:
        (theirs / "link").symlink_to(kept.folder)
        (theirs / "folder").mkdir()
        (theirs / "nowhere").symlink_to(kept.folder / "new")

    as_stranger(prepare)
    manifest = msgspec.convert(FACTS, Manifest)
    for name, why in (("link", "is a link"), ("folder", "another user"), ("nowhere", "is a link")):
        with pytest.raises(UsageError, match=why):
            RunWriter.create(theirs / name, manifest)
    with pytest.raises(UsageError):
        RunWriter.create(theirs / "nowhere/run", manifest)
    assert kept.state() == kept.before and not list((theirs / "folder").iterdir())
    (theirs / "empty").mkdir()  # of root's: taken as it is
    RunWriter.create(theirs / "empty", manifest).close()
    assert load_trace(theirs / "empty").manifest.finished


def test_a_folder_that_is_exchanged_in_the_moment_it_is_made(theirs: Path, kept: Kept) -> None:
    """The stranger moves each new folder away at once and puts a link there; root tries many
    times.
    """

    def moving() -> None:
        number = 0
        while not os.path.exists(theirs / "ended"):
            number += 1
            with contextlib.suppress(OSError):
                os.rename(theirs / "run", theirs / f"away{number}")
                os.symlink(kept.folder, theirs / "run")

    child = os.fork()
    if not child:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        moving()
        os._exit(0)
    refused = 0
    until_s = time.monotonic() + 1.5
    while time.monotonic() < until_s:
        try:
            run = RunWriter.create(theirs / "run", msgspec.convert(FACTS, Manifest))
            run.jsonl("host.states", 0).append({"ts": 1})
            run.close()
        except UsageError:
            refused += 1
        with contextlib.suppress(OSError):
            (theirs / "run").unlink()
    (theirs / "ended").touch()
    os.waitpid(child, 0)
    assert kept.state() == kept.before and refused > 0


def test_the_user_who_called_sudo_can_read_the_run_and_gains_nothing_by_links(
    pid: int, theirs: Path, kept: Kept, tmp_path: Path
) -> None:
    out = theirs / "new/run"

    def put_links() -> None:
        for name in NAMES[1:]:
            with contextlib.suppress(FileExistsError):
                (out / name).symlink_to(kept.file)
        until(lambda: (out / "streams/host.counters@host").exists())
        (out / "streams/host.counters@host/000000.jsonl").symlink_to(kept.file)
        (out / "streams/host.counters@host/000001.open").symlink_to(kept.file)

    def read_all() -> None:
        for path in out.rglob("*"):
            assert path.is_symlink() or path.is_dir() or path.read_bytes() is not None
        shutil.rmtree(theirs / "new")

    ids = {"SUDO_UID": str(NOBODY), "SUDO_GID": str(NOBODY)}
    done = attached(pid, out, lambda: as_stranger(put_links), **ids)
    assert kept.state() == kept.before and done.returncode == 0
    assert StoredRun.open(out).manifest.finished
    owners = {path.lstat().st_uid for path in out.rglob("*")}
    assert owners == {NOBODY} and out.stat().st_uid == NOBODY
    as_stranger(read_all)


def test_only_the_owner_may_look_into_a_run_folder(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        run = RunWriter.create(tmp_path / "above/run", msgspec.convert(FACTS, Manifest))
        run.jsonl("host.states", 0).append({"ts": 1})
        run.close()
    finally:
        os.umask(before)
    for path in (tmp_path / "above/run", *(tmp_path / "above/run").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_a_report_is_not_written_through_their_link(theirs: Path, kept: Kept) -> None:
    def prepare() -> None:
        (theirs / "report.html").symlink_to(kept.file)
        (theirs / f".report.html.{os.getppid()}").symlink_to(kept.file)
        (theirs / "null.html").symlink_to("/dev/null")

    as_stranger(prepare)
    write_output(theirs / "report.html", "<html>")
    with pytest.raises(OSError, match="symbolic links"):
        write_output(theirs / "null.html", "<html>")
    write_output(Path("/dev/null"), "<html>")
    assert kept.state() == kept.before and stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert (theirs / "report.html").read_text() == "<html>" and not (
        theirs / "report.html"
    ).is_symlink()


def test_an_export_folder_that_is_exchanged_while_it_is_written(tmp_path: Path) -> None:
    """The owner of the folder above puts a folder of links in its place after the first table."""
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
    assert {f"{name}.csv" for name in written} <= {
        path.name for path in (tmp_path / "moved").iterdir()
    }
