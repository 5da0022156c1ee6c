"""The processes of a job and their roles, for real processes of every kind."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from perfscope.agent.collector import TargetProcess
from perfscope.agent.host import proc
from perfscope.agent.job.process_tree import JobTree, find_job_processes, is_ending, ranks_of_tasks
from perfscope.agent.job.roles import find_facts, read_facts
from perfscope.errors import PerfscopeError, UsageError
from tests.target_processes import TARGETS, until

Begin = Callable[..., subprocess.Popen[bytes]]
CHILD_PROCESSES = str(TARGETS / "child_processes.py")
SLEEP = "import time; print('ready', flush=True); time.sleep(1000)"


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Return begin(*command), which starts a program in a new session and waits until it is
    ready; the processes are killed after the test.
    """
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **(env or {})}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, start_new_session=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in started:
        kill_tree(process.pid)
        process.communicate(timeout=30)


def kill_tree(pid: int) -> None:
    """Kill a process and all below it; each is stopped first, so that it starts no others."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    for child in proc.children(pid):
        kill_tree(child)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Return the pids of all processes below `pid`."""
    found = []
    for child in proc.children(pid):
        found += [child, *descendants(child)]
    return found


def roles(found: list[TargetProcess] | dict[int, TargetProcess]) -> list[tuple[str, int]]:
    """Return (role, rank) of every process, sorted."""
    processes = found.values() if isinstance(found, dict) else found
    return sorted((process.role, process.rank) for process in processes)


def workers(found: dict[int, TargetProcess]) -> list[int]:
    """Return the pids of the loader workers."""
    return [pid for pid, process in found.items() if process.role == "loader-worker"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_loader_workers_are_distinguished_from_helpers(begin: Begin, method: str) -> None:
    target = begin(sys.executable, CHILD_PROCESSES, "single", "2", method)
    tree = JobTree(target.pid)
    until(lambda: len(workers(tree.refresh())) == 2)
    found = tree.refresh()
    assert found[target.pid].role == "main" and found[target.pid].rank == 0
    assert found[target.pid].has_torch and found[target.pid].name == "child_processes.py"
    assert all(
        found[pid].rank == 0 and found[pid].name == "child_processes.py" for pid in workers(found)
    )
    others = [item for item in found.values() if item.role == "other"]
    assert len(others) == {"fork": 1, "spawn": 2, "forkserver": 3}[method]
    assert tree.status().status == "ok"


def test_process_numbers_remain_the_same_and_processes_that_end_disappear(begin: Begin) -> None:
    target = begin(sys.executable, CHILD_PROCESSES, "single", "1", "fork")
    tree = JobTree(target.pid)
    before = tree.refresh()
    again = tree.refresh()
    assert before == again
    helper = next(process for process in before.values() if process.role == "other")
    os.kill(helper.pid, signal.SIGKILL)
    until(lambda: helper.pid not in tree.refresh())
    after = tree.refresh()
    assert all(process.process == before[pid].process for pid, process in after.items())
    assert tree.alive()
    target.kill()
    until(lambda: not tree.alive())
    assert target.pid not in tree.refresh()


@pytest.mark.parametrize("loader_workers", [0, 1])
def test_ranks_of_mp_spawn_are_distinguished_from_loader_workers(
    begin: Begin, loader_workers: int
) -> None:
    method = "fork" if loader_workers else "none"
    target = begin(sys.executable, CHILD_PROCESSES, "spawn", str(loader_workers), method)
    tree = JobTree(target.pid)
    expected = [("launcher", -1), ("main", 0), ("main", 1), ("other", -1)]
    if loader_workers:
        expected = sorted([*expected, ("loader-worker", 0), ("loader-worker", 1)])
    until(lambda: roles(tree.refresh()) == expected)
    assert tree.status().status == "partial"
    (second,) = [
        process
        for process in tree.refresh().values()
        if (process.role, process.rank) == ("main", 1)
    ]
    assert second.name == "child_processes.py"
    alone = find_job_processes(second.pid)
    assert [process.rank for process in alone if process.role == "main"] == [1]
    assert roles(find_job_processes(second.pid, all_ranks=True)) == expected


def test_ranks_of_torchrun_have_the_rank_they_were_started_with(
    begin: Begin, tmp_path: Path
) -> None:
    program = tmp_path / "rank.py"
    program.write_text(
        "import os, time, torch\nif os.environ['RANK'] == '1':\n    print('ready',"
        " flush=True)\ntime.sleep(1000)\n"
    )
    command = (
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        "0",
    )
    target = begin(*command, str(program))
    expected = [("launcher", -1), ("main", 0), ("main", 1)]
    tree = JobTree(target.pid)
    assert roles(tree.refresh()) == expected
    assert tree.status().status == "ok"
    first = next(each for each in tree.refresh().values() if each.rank == 0)
    assert (first.name, first.local_rank) == ("rank.py", 0)
    assert roles(find_job_processes(first.pid)) == [("main", 0)]
    assert roles(find_job_processes(first.pid, all_ranks=True)) == expected


def test_ranks_that_a_shell_started_are_siblings_by_their_world(begin: Begin) -> None:
    script = """
    WORLD_SIZE=2 RANK=1 "$0" -c "$1" & WORLD_SIZE=2 RANK=0 "$0" -c "$1" > /dev/null &
    WORLD_SIZE=3 RANK=2 "$0" -c "$1" > /dev/null & "$0" -c "$1" > /dev/null & wait
    """
    shell = begin("sh", "-c", script, sys.executable, SLEEP)
    until(lambda: len(python_below(shell.pid)) == 4)
    second = {"WORLD_SIZE": "2", "RANK": "1"}
    (rank,) = [pid for pid in proc.children(shell.pid) if ranks_in_environment(pid) == second]
    assert [found.rank for found in find_job_processes(rank)] == [1]
    assert sorted(found.rank for found in find_job_processes(rank, all_ranks=True)) == [0, 1]


def test_tasks_of_slurm_are_ranks_also_if_each_is_below_a_shell(
    begin: Begin, tmp_path: Path
) -> None:
    step = tmp_path / "slurmstepd"
    step.symlink_to("/bin/sh")
    script = """
    export SLURM_STEP_NUM_TASKS=2
    for rank in 4 5; do
        export SLURM_PROCID=$rank SLURM_LOCALID=$((rank - 4))
        sh -c '"$0" -c "$1"; true' "$0" "$1" > /dev/null &
    done
    echo ready; wait
    """
    above = begin(str(step), "-c", script, sys.executable, SLEEP)
    until(lambda: len(python_below(above.pid)) == 2)
    tasks = python_below(above.pid)
    assert sorted(roles(find_job_processes(task))[0] for task in tasks) == [
        ("main", 4),
        ("main", 5),
    ]
    both = find_job_processes(tasks[0], all_ranks=True)
    assert sorted((found.rank, found.local_rank) for found in both) == [(4, 0), (5, 1)]
    facts = find_facts(both[0].pid)
    assert facts is not None and len(ranks_of_tasks([facts])) == 1
    several = [facts, replace(facts, pid=1)]
    assert not ranks_of_tasks(several), "the number of a task is the rank of one process only"


def python_below(pid: int) -> list[int]:
    """Return the pids of all Python processes below `pid`."""
    return [found for found in descendants(pid) if proc.executable(found).startswith("python")]


def ranks_in_environment(pid: int) -> dict[str, str]:
    return proc.environment(pid, ("RANK", "WORLD_SIZE"))


def test_a_process_that_executes_another_program_keeps_its_number(begin: Begin) -> None:
    then = (
        "import os, sys; os.environ['NEXT'] = '1'; os.execv(sys.executable, [sys.executable, '-c',"
        f" {SLEEP!r}, 'then'])"
    )
    program = f"import sys; print('ready', flush=True); sys.stdin.readline(); {then}"
    target = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert target.stdout is not None and target.stdin is not None
        target.stdout.readline()
        tree = JobTree(target.pid)
        code = tree.refresh()[target.pid].process
        image = tree.tracked[target.pid, tree.start_ticks].facts.image
        target.stdin.write(b"go\n")
        target.stdin.flush()
        target.stdout.readline()
        assert tree.refresh()[target.pid].process == code
        assert tree.tracked[target.pid, tree.start_ticks].facts.command[-1] == "then"
        assert tree.tracked[target.pid, tree.start_ticks].facts.image != image
    finally:
        target.kill()
        target.communicate()


def test_a_later_process_with_the_same_pid_is_not_the_target(begin: Begin) -> None:
    target = begin(sys.executable, "-c", SLEEP)
    tree = JobTree(target.pid)
    target.kill()
    target.wait()
    successor = fork_with_pid(target.pid)
    try:
        assert proc.stat(target.pid) is not None
        assert not tree.alive()
    finally:
        os.kill(successor, signal.SIGKILL)
        os.waitpid(successor, 0)


def fork_with_pid(pid: int) -> int:
    """Fork a child with this pid: the kernel assigns the number after ns_last_pid."""
    # Start times are in clock ticks; in the same tick it would count as the same process.
    time.sleep(2 / os.sysconf("SC_CLK_TCK"))
    for _ in range(200):
        try:
            Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        except OSError as error:
            pytest.skip(f"cannot choose a pid on this machine: {error}")
        child = os.fork()
        if not child:
            signal.pause()
            os._exit(0)
        if child == pid:
            return child
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    pytest.skip("other processes took the pid every time")


def test_the_pid_inside_a_pid_namespace_is_known(begin: Begin) -> None:
    try:
        target = begin("unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", SLEEP)
    except (AssertionError, FileNotFoundError):
        pytest.skip("no pid namespace can be made on this machine")
    (child,) = proc.children(target.pid)
    (found,) = find_job_processes(child)
    assert (found.pid, found.ns_pid, found.is_python, found.has_torch) == (child, 1, True, False)
    with pytest.raises(UsageError, match=f" {child} "):
        find_job_processes(target.pid)


def test_refusals_name_the_process_and_the_command_to_use(begin: Begin) -> None:
    with pytest.raises(UsageError, match=r"4194305.*`perfscope ps`"):
        JobTree(4194305)
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    with pytest.raises(UsageError, match=f"{thread.native_id}.* {os.getpid()}"):
        JobTree(thread.native_id or 0)
    ended.set()
    sleeping = subprocess.Popen(["sleep", "1000"])
    with pytest.raises(UsageError, match=r"\(sleep\).*`perfscope ps`"):
        JobTree(sleeping.pid)
    sleeping.kill()
    until(lambda: (found := proc.stat(sleeping.pid)) is not None and found.state == "Z")
    with pytest.raises(PerfscopeError, match=f"{sleeping.pid} .*{os.getpid()}"):
        JobTree(sleeping.pid)
    sleeping.wait()


def test_a_loader_worker_is_refused(begin: Begin) -> None:
    target = begin(sys.executable, CHILD_PROCESSES, "single", "1", "fork")
    worker = workers(JobTree(target.pid).refresh())[0]
    with pytest.raises(UsageError, match=f"{target.pid} \\(child_processes.py\\)"):
        JobTree(worker)


def test_a_process_that_is_ending_is_recognized() -> None:
    found = proc.stat(os.getpid())
    assert found is not None
    facts = read_facts(os.getpid(), found)
    without_image = replace(found, image=(0, 0))
    assert is_ending(facts, without_image) and not is_ending(facts, found)
    hidden_image = replace(facts, image=(0, 0))  # the kernel shows the image to privileged readers
    assert not is_ending(hidden_image, without_image)


def test_a_stopped_process_is_refused_with_the_command_to_continue_it(begin: Begin) -> None:
    target = begin(sys.executable, "-c", SLEEP)
    os.kill(target.pid, signal.SIGSTOP)
    until(lambda: "State:\tT" in Path(f"/proc/{target.pid}/status").read_text())
    with pytest.raises(PerfscopeError, match=f"`kill -CONT {target.pid}`"):
        JobTree(target.pid)
