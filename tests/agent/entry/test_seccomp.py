"""Targets with a seccomp filter: they are entered if it permits what entering needs, and refused
with the reason otherwise.
"""

import os
import struct
from pathlib import Path

import pytest

from perfscope.agent.entry import check_entry, enter
from perfscope.agent.entry.seccomp_filter import (
    INSIST,
    REQUIRED,
    USED,
    filter_answer,
    forbidden_call,
)
from perfscope.errors import CannotEnter
from tests.agent.entry.target import BUSY, READY, Start, eventually, wait_for_output, writing

KILL_PROCESS, KILL_THREAD, TRAP, DENY, NO_SUCH_CALL, ALLOW = (
    0x80000000,
    0,
    0x00030000,
    0x00050001,
    0x00050026,
    0x7FFF0000,
)
NOBODY = 65534
as_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root to read filters, or to give that up"
)
FILTERED = f"""
import ctypes, struct, sys, os
answer, numbers = int(sys.argv[1]), [int(word) for word in sys.argv[2].split(",")]
steps = [struct.pack("HBBI", 0x20, 0, 0, 0)]
for number in numbers:
    steps += [struct.pack("HBBI", 0x15, 0, 1, number), struct.pack("HBBI", 0x06, 0, 0, answer)]
steps += [struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(steps))
libc = ctypes.CDLL(None)
if len(sys.argv) > 3:
    os.setgroups([])
    os.setgid(int(sys.argv[3]))
    os.setuid(int(sys.argv[3]))
    libc.prctl(4, 1)
assert libc.prctl(38, 1, 0, 0, 0) == 0
header = struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code))
assert libc.prctl(22, 2, ctypes.create_string_buffer(header)) == 0
{READY}
while True: pass
"""


def filter_of(answer: int, *numbers: int) -> bytes:
    """Return a filter that gives `answer` for the system calls and allows all others."""
    steps = [(0x20, 0, 0, 0)]
    for number in numbers:
        steps += [(0x15, 0, 1, number), (0x06, 0, 0, answer)]
    return b"".join(struct.pack("<HBBI", *step) for step in [*steps, (0x06, 0, 0, ALLOW)])


@as_root
@pytest.mark.parametrize(
    ("answer", "numbers", "name"),
    [
        (KILL_PROCESS, "56,435", "clone"),
        (KILL_THREAD, "10", "mprotect"),
        (TRAP, "41", "socket"),
        (DENY, "9", "mmap"),
        (DENY, "435", "clone3"),
        (KILL_PROCESS, "319", "memfd_create"),
    ],
)
def test_a_filter_that_forbids_what_entering_needs_causes_a_refusal(
    start: Start, answer: int, numbers: str, name: str
) -> None:
    target = start(FILTERED, str(answer), numbers)
    with pytest.raises(CannotEnter, match=f"forbids {name},"):
        enter(target.pid, "pass")
    assert target.poll() is None


@as_root
def test_a_target_whose_filter_permits_entering_is_entered(start: Start, tmp_path: Path) -> None:
    """The filter is like that of a container: clone3, memfd_create and other calls fail."""
    target = start(FILTERED, str(NO_SUCH_CALL), "165,166,435,319")
    enter(target.pid, writing(tmp_path / "out"))
    wait_for_output(tmp_path / "out", "x")
    assert target.poll() is None


@as_root
def test_a_filter_that_cannot_be_read_is_refused_unless_the_user_insists(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = start(FILTERED, str(KILL_PROCESS), "56,435", str(NOBODY))
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        try:
            check_entry(target.pid)
        except CannotEnter as refusal:
            os._exit(7 if "--even-with-seccomp" in str(refusal) else 8)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    monkeypatch.setenv(INSIST, "1")
    check_entry(target.pid)


def test_strict_mode_is_refused(start: Start) -> None:
    target = start(f"import ctypes; {READY}; ctypes.CDLL(None).prctl(22, 1)\nwhile True: pass")
    eventually(lambda: "Seccomp:\t1" in Path(f"/proc/{target.pid}/status").read_text(), "the mode")
    with pytest.raises(CannotEnter, match="strict mode"):
        enter(target.pid, "pass")
    assert target.poll() is None


def test_a_target_without_a_filter_is_not_refused(start: Start) -> None:
    check_entry(start(BUSY).pid)


def test_the_strictest_answer_is_used() -> None:
    assert filter_answer([], 9, ()) == ALLOW
    assert (
        filter_answer([filter_of(DENY, 9), filter_of(KILL_PROCESS, 9), filter_of(TRAP, 9)], 9, ())
        == KILL_PROCESS
    )
    assert filter_answer([filter_of(DENY, 9), filter_of(KILL_THREAD, 9)], 9, ()) == KILL_THREAD
    assert filter_answer([filter_of(DENY, 9), filter_of(KILL_THREAD, 8)], 9, ()) == DENY


def test_every_call_that_an_entry_needs_is_checked() -> None:
    for name, (number, _) in REQUIRED.items():
        assert forbidden_call([filter_of(DENY, number)]) == name
    for name, number in USED.items():
        assert forbidden_call([filter_of(NO_SUCH_CALL, number)]) is None
        assert forbidden_call([filter_of(KILL_THREAD, number)]) == name


def test_a_filter_that_reads_arguments_is_evaluated_with_them() -> None:
    """The filter is like that of Docker for clone: it refuses namespaces and permits threads."""
    load_flags, mask, equal = (0x20, 0, 0, 16), (0x54, 0, 0, 0x7E020000), (0x15, 0, 1, 0)
    steps = [
        (0x20, 0, 0, 0),
        (0x15, 0, 5, 56),
        load_flags,
        mask,
        equal,
        (0x06, 0, 0, ALLOW),
        (0x06, 0, 0, DENY),
    ]
    program = b"".join(struct.pack("<HBBI", *step) for step in [*steps, (0x06, 0, 0, ALLOW)])
    assert forbidden_call([program]) is None
    assert filter_answer([program], 56, (0x10000000,)) == DENY
