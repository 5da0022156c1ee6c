"""Processes of another user that root attaches to: the files, folders and programs of that user are
not used with root's rights.
"""

import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from perfscope.agent.entry import enter, mapped_image
from perfscope.agent.entry.by_ptrace import enter_by_ptrace
from perfscope.agent.entry.process_identity import Target, read_identity
from perfscope.agent.entry.refusals import check_entry, known_version
from perfscope.agent.entry.symbols import addresses as addresses_of_symbols
from perfscope.agent.entry.symbols import (
    c_library_files,
    exported_symbols,
    known_files,
    load_bias,
    python_files,
)
from perfscope.agent.host import proc
from perfscope.agent.stacks.py_spy import PySpy
from perfscope.agent.stacks.py_spy import find_py_spy as py_spy_program
from perfscope.agent.target_user import files
from perfscope.agent.target_user.child import Reply, call_as, unresponsive_until_s
from perfscope.agent.target_user.rights import CAP_SYS_PTRACE, TargetUser, target_user, user_of
from perfscope.errors import CannotEnter
from tests.agent.entry.target import BUSY, SLEEP
from tests.safety.other_user import (
    NOBODY,
    PYTHON_FOR_ALL,
    folder_of_nobody,
    needs_root,
    run_as_nobody,
)
from tests.target_processes import perfscope, until

pytestmark = needs_root
FAKE = r"""
#include <stdio.h>
#include <unistd.h>
unsigned long Py_Version = 0x030e0af0;
int PyRun_String, PyConfig_InitPythonConfig, Py_AddPendingCall, _PyRuntime;
int main(int count, char **words) {
    FILE *proof = fopen(PROOF, "a");
    if (proof) { fprintf(proof, "%d\n", geteuid()); fclose(proof); }
    sleep(60);
    return 0;
}
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_of_nobody() as place:
        yield place


@pytest.fixture
def nobody() -> Iterator[TargetUser]:
    process = run_as_nobody(SLEEP)
    user = user_of(process.pid)
    yield user
    unresponsive_until_s.clear()
    user.close()
    process.kill()
    process.communicate()


def started(program: str, *, python: str = PYTHON_FOR_ALL or "") -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [python, "-c", program],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        stdout=subprocess.PIPE,
        cwd="/",
    )
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    return process


def end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.communicate()


def who_am_i() -> Reply:
    """Return what a child can do: ids, capabilities, environment, open files, and whether it can
    read a file of root.
    """
    status = dict(
        line.split(":\t", 1)
        for line in Path("/proc/self/status").read_text().splitlines()
        if ":\t" in line
    )
    names = ("Uid", "Gid", "Groups", "CapEff", "CapPrm", "CapInh", "CapAmb", "NoNewPrivs")
    shadow = os.access("/etc/shadow", os.R_OK)
    opened = [
        each for each in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{each}")
    ]
    return Reply(
        [{name: status[name].split() for name in names}, dict(os.environ), shadow, len(opened)]
    )


def test_a_child_has_the_users_rights_and_no_others(nobody: TargetUser) -> None:
    kept = os.open(os.devnull, os.O_RDONLY)
    try:
        rights, environment, shadow, opened = call_as(nobody, who_am_i).value
    finally:
        os.close(kept)
    assert rights["Uid"] == rights["Gid"] == [str(NOBODY)] * 4
    assert rights["Groups"] == [] and rights["NoNewPrivs"] == ["1"]
    assert {
        name: int(rights[name][0], 16) for name in rights if name.startswith("Cap")
    } == dict.fromkeys(("CapEff", "CapPrm", "CapInh", "CapAmb"), 0)
    assert environment == {} and not shadow
    assert opened <= 6, (
        "its own socket, the root directory, and input, output and errors that lead nowhere"
    )


def hold_on(path: str) -> Reply:
    os.open(path, os.O_RDONLY)  # a FIFO without a writer: waits for ever
    return Reply()


def test_a_child_that_hangs_is_ended(nobody: TargetUser, folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    os.chown(folder / "fifo", NOBODY, NOBODY)
    before = proc.children(os.getpid())
    with pytest.raises(TimeoutError):
        call_as(nobody, hold_on, str(folder / "fifo"), limit_s=0.3)
    assert proc.children(os.getpid()) == before


def die() -> Reply:
    os.kill(os.getpid(), 9)
    return Reply()


def test_a_child_that_the_user_kills_is_an_error_and_not_an_answer(nobody: TargetUser) -> None:
    with pytest.raises(OSError, match="without an answer"):
        call_as(nobody, die)


def test_a_folder_cannot_be_made_where_the_user_may_not(nobody: TargetUser, folder: Path) -> None:
    victim = folder.parent / f"{folder.name}-victim"
    victim.mkdir(mode=0o755)
    (folder / "tmp").symlink_to(victim)
    root = os.open(folder, os.O_PATH)
    try:
        for place in ("/tmp", "/tmp/.", "/../tmp"):
            with pytest.raises(OSError):
                call_as(
                    nobody,
                    files.make_target_folder,
                    root,
                    place,
                    "made",
                    {"file": ""},
                    files=(root,),
                )
        assert list(victim.iterdir()) == [] and victim.stat().st_uid == 0
    finally:
        os.close(root)
        victim.rmdir()


def test_links_and_parent_folders_do_not_lead_out_of_the_root(
    nobody: TargetUser, folder: Path
) -> None:
    (folder / "etc").mkdir()
    (folder / "etc" / "passwd").write_text("of the user")
    (folder / "absolute").symlink_to("/etc/passwd")
    (folder / "relative").symlink_to("../../../../../etc/passwd")
    root = os.open(folder, os.O_PATH)
    try:
        for path in ("/etc/passwd", "/absolute", "/relative", "../../../etc/passwd"):
            reply = call_as(nobody, files.read_file, root, path, 100, files=(root,))
            assert reply.value == "of the user"
    finally:
        os.close(root)


def test_without_openat2_a_path_with_a_link_is_refused(nobody: TargetUser, folder: Path) -> None:
    (folder / "etc").mkdir()
    (folder / "etc" / "passwd").write_text("of the user")
    (folder / "link").symlink_to("/etc")
    root = os.open(folder, os.O_PATH)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(files, "OPENAT2", 100_000)  # a call that no kernel has
            assert (
                call_as(nobody, files.read_file, root, "/etc/passwd", 100, files=(root,)).value
                == "of the user"
            )
            for path in ("/link/passwd", "/link", "../etc/passwd", "/etc/../link/passwd"):
                with pytest.raises(OSError):
                    call_as(nobody, files.read_file, root, path, 100, files=(root,))
    finally:
        os.close(root)


def test_only_regular_files_are_read(nobody: TargetUser, folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    os.chmod(folder / "fifo", 0o666)
    for path in (str(folder / "fifo"), "/dev/zero", str(folder)):
        with pytest.raises(OSError):
            call_as(nobody, files.read_file, nobody.root, path, 100)


def test_a_folder_made_for_the_user_belongs_to_the_user_and_is_closed_to_others(
    nobody: TargetUser,
) -> None:
    reply = call_as(
        nobody,
        files.make_target_folder,
        nobody.root,
        "/tmp",
        f"perfscope-test-{os.getpid()}",
        {"one": "x", "two": ""},
    )
    folder = reply.files[0]
    made = Path("/tmp") / f"perfscope-test-{os.getpid()}"
    try:
        about = made.stat()
        assert (about.st_uid, stat.S_IMODE(about.st_mode)) == (NOBODY, 0o700)
        assert {path.name: (path.stat().st_uid, path.read_text()) for path in made.iterdir()} == {
            "one": (NOBODY, "x"),
            "two": (NOBODY, ""),
        }
        assert call_as(nobody, files.has_entry, folder, "one", files=(folder,)).value is True
    finally:
        call_as(
            nobody, files.remove_folder, nobody.root, "/tmp", made.name, folder, files=(folder,)
        )
        os.close(folder)
    assert not made.exists()


def test_a_trace_of_another_user_in_the_folder_is_not_read(
    nobody: TargetUser, folder: Path
) -> None:
    """Every user that can write to the folder could put the file of another user, a link or a FIFO
    there.
    """
    (folder / "trace_1.json").write_text("root's")
    (folder / "trace_2.json").symlink_to("/etc/passwd")
    os.mkfifo(folder / "trace_3.json")
    os.chown(folder / "trace_3.json", NOBODY, NOBODY)
    opened = os.open(folder, os.O_RDONLY)
    try:
        with pytest.raises(OSError):
            call_as(nobody, files.copy_first, opened, "trace_2", ".json", 100, files=(opened,))
        (folder / "trace_2.json").unlink()
        assert (
            call_as(nobody, files.copy_first, opened, "trace_", ".json", 100, files=(opened,)).files
            == []
        )
        (folder / "trace_4.json").write_text("of the user")
        os.chown(folder / "trace_4.json", NOBODY, NOBODY)
        reply = call_as(nobody, files.copy_first, opened, "trace_", ".json", 100, files=(opened,))
        assert os.pread(reply.files[0], 100, 0) == b"of the user" and reply.value == 11
        os.close(reply.files[0])
    finally:
        os.close(opened)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler (gcc)")
def test_a_program_of_another_user_is_never_run_by_root(folder: Path) -> None:
    """The program claims to be CPython 3.14, which would be entered through its interpreter."""
    proof = folder / "proof"
    proof.touch()
    os.chmod(proof, 0o666)
    (folder / "fake.c").write_text(FAKE)
    program = folder / "python3.14"
    command = ["gcc", "-w", "-rdynamic", f'-DPROOF="{proof}"', "-o", program, folder / "fake.c"]
    subprocess.run(command, check=True)
    process = subprocess.Popen(
        [program], user=NOBODY, group=NOBODY, extra_groups=[], env={"LD_LIBRARY_PATH": "/x"}
    )
    try:
        until(lambda: proof.read_text())
        assert known_version(process.pid) == 0x030E0AF0
        with pytest.raises(CannotEnter):
            enter(process.pid, "pass", deadline_s=3)
        attach = perfscope("attach", str(process.pid), "--duration", "1", "--out", folder / "run")
        subprocess.run(attach, capture_output=True, timeout=60)
    finally:
        process.kill()
        process.wait()
    assert proof.read_text().split() == [str(NOBODY)], "run once, by that user"


def test_the_files_of_another_users_python_are_read_as_that_user() -> None:
    process = started(BUSY)
    known_files.clear()
    try:
        entry = enter(process.pid, "import os; os.write(1, b'entered\\n')")
        assert entry.way in ("pending-call", "idle-call", "remote-exec")
        assert process.stdout is not None and process.stdout.readline() == b"entered\n"
    finally:
        end(process)


def test_a_fifo_in_place_of_a_mapped_file_delays_no_process(folder: Path) -> None:
    program = folder / "python3.11"
    shutil.copy(PYTHON_FOR_ALL or "", program)
    os.chmod(program, 0o755)
    process = started(BUSY, python=str(program))
    try:
        program.unlink()
        os.mkfifo(folder / "python3.11 (deleted)")
        os.chown(folder / "python3.11 (deleted)", NOBODY, NOBODY)
        began = time.monotonic()
        known_version(process.pid)
        listed = subprocess.run(perfscope("ps"), capture_output=True, text=True, timeout=60)
        assert listed.returncode == 0
        assert time.monotonic() - began < 60, "it would wait for a writer without end"
    finally:
        end(process)


def test_the_symbols_of_a_python_whose_file_was_removed_are_read_from_memory(folder: Path) -> None:
    program = folder / "python3.11"
    shutil.copy(PYTHON_FOR_ALL or "", program)
    os.chmod(program, 0o755)
    process = started(BUSY, python=str(program))
    try:
        program.unlink()
        assert enter(process.pid, "import os; os.write(1, b'entered\\n')").way == "pending-call"
        assert process.stdout is not None and process.stdout.readline() == b"entered\n"
    finally:
        end(process)


def test_symbols_in_memory_are_those_of_the_file() -> None:
    process = started(SLEEP)
    names = ["PyRun_String", "_PyRuntime", "Py_AddPendingCall", "mmap", "munmap", "pthread_create"]
    try:
        compared = 0
        for mapped in [*python_files(process.pid), *c_library_files(process.pid)]:
            found = exported_symbols(process.pid, mapped, names)
            assert found is not None
            bias = load_bias(found, mapped)
            exported = {
                name: (place[0] + bias, place[1])
                for name, place in found.symbols.items()
                if place is not None
            }
            assert exported == addresses_of_symbols(process.pid, [mapped], names)
            compared += len(exported)
        assert compared >= len(names)
    finally:
        end(process)


def test_stacks_of_another_user_are_sampled_with_that_users_rights(folder: Path) -> None:
    process = started(BUSY)
    try:
        sampling = PySpy(py_spy_program() or "", process.pid, 10.0)
        sampling.begin()
        until(
            lambda: (
                sampling.process.poll() is not None
                or "py-spy" in "".join(proc.command_line(sampling.process.pid)[:1])
            )
        )
        status = proc.read_status(sampling.process.pid)
        assert status["Uid"].split() == [str(NOBODY)] * 4 and status["Groups"] == ""
        assert int(status["CapEff"], 16) == CAP_SYS_PTRACE and status["NoNewPrivs"] == "1"
        time.sleep(1.0)
        events = sampling.end()
        assert {event.ph for event in events} == {"B", "E"}, sampling.error
    finally:
        end(process)


def test_a_program_with_the_rights_of_several_users_is_refused() -> None:
    several = (
        f"import os; os.setresuid({NOBODY}, 0, 0)\nprint('ready', flush=True)\nwhile True: pass"
    )
    process = subprocess.Popen([PYTHON_FOR_ALL or "", "-c", several], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        with pytest.raises(CannotEnter, match="several users"):
            check_entry(process.pid)
    finally:
        end(process)


CHANGES = """
import os, sys, time
print("ready", flush=True)
sys.stdin.readline()
{change}
"""
BECOMES = f"os.execv(sys.executable, [sys.executable, '-c', {BUSY!r}])"
GAINS = "os.setresuid(0, 0, 0)\nprint('ready', flush=True)\nwhile True: pass"


@pytest.mark.parametrize("change", [BECOMES, GAINS], ids=["another program", "other rights"])
def test_a_process_that_changes_after_it_was_checked_is_released(change: str) -> None:
    """A process of another user can execute a setuid program while its symbols are read."""
    drop = f"os.setresuid({NOBODY}, {NOBODY}, 0)" if change == GAINS else ""
    program = CHANGES.format(change=change).replace("print(", f"{drop}\nprint(", 1)
    process = subprocess.Popen(
        [PYTHON_FOR_ALL or "", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd="/",
    )
    assert (
        process.stdin is not None
        and process.stdout is not None
        and process.stdout.readline() == b"ready\n"
    )
    memory = os.open(f"/proc/{process.pid}/mem", os.O_RDWR)
    try:
        target = Target(process.pid, memory, read_identity(process.pid))
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"ready\n"
        with (
            pytest.raises(CannotEnter, match="changed its rights"),
            ThreadPoolExecutor(1) as tracer,
        ):
            source = "import os; os.write(1, b'entered')"
            tracer.submit(enter_by_ptrace, target, source, time.monotonic_ns() + 3 * 10**9).result()
        assert process.poll() is None and proc.read_status(process.pid)["TracerPid"] == "0"
    finally:
        os.close(memory)
        end(process)


def test_helpers_of_a_user_that_do_not_respond_are_not_started_again_at_once(
    nobody: TargetUser, folder: Path
) -> None:
    os.mkfifo(folder / "fifo")
    os.chown(folder / "fifo", NOBODY, NOBODY)
    with pytest.raises(TimeoutError):
        call_as(nobody, hold_on, str(folder / "fifo"), limit_s=0.3)
    began = len(proc.children(os.getpid()))
    with pytest.raises(TimeoutError, match="do not answer"):
        call_as(nobody, who_am_i)
    assert len(proc.children(os.getpid())) == began
    unresponsive_until_s.clear()
    assert call_as(nobody, who_am_i).value


def test_tables_of_an_image_in_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mapped memory is the target's, and a process with root's rights reads it."""
    process = started(SLEEP)
    try:
        (mapped, *_) = c_library_files(process.pid)
        assert exported_symbols(process.pid, mapped, ["mmap"]) is not None
        monkeypatch.setattr(mapped_image, "LARGEST_TABLE_BYTES", 4096)
        assert exported_symbols(process.pid, mapped, ["mmap"]) is None
    finally:
        end(process)


def test_only_the_user_of_another_process_is_foreign(nobody: TargetUser) -> None:
    assert nobody.foreign
    with target_user(os.getpid()) as user:
        assert not user.foreign
