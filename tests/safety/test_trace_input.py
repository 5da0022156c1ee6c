"""Hostile traces: texts that could make reading quadratic, other locales, and input on which the
two readers could differ.

Tests of time count the work for twice as much input, and read no clock.
"""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from perfscope.cli import main
from perfscope.errors import UnreadableRun
from perfscope.traces.kineto import pieces
from perfscope.traces.kineto.compiled_parser import is_available, parse_compiled
from perfscope.traces.kineto.piece_parser import parse_in_python
from perfscope.traces.kineto.pieces import NoEvents, Pieces, array_begin, depth
from perfscope.traces.kineto.repaired_text import with_plain_name
from perfscope.traces.load import load_trace
from perfscope.traces.naming import collective_kind, launch_kind
from tests.safety.long_fuzz_readers import alike
from tests.traces.kineto.events import event, kernel, launch, write_events

COMPILED = pytest.mark.skipif(not is_available(), reason="installed without a compiler")
EVENT = json.dumps(event()).encode()


class Counted:
    """Blocks of a text; `scanned` counts the bytes that are searched for the begin of the event
    array.
    """

    def __init__(self, text: bytes, block: int, patch: pytest.MonkeyPatch) -> None:
        self.text, self.block, self.scanned = text, block, 0
        found = array_begin

        def counted(text: bytes) -> "re.Match[bytes] | None":
            self.scanned += len(text)
            return found(text)

        patch.setattr(pieces, "array_begin", counted)

    def __iter__(self) -> Iterator[bytes]:
        return (self.text[at : at + self.block] for at in range(0, len(self.text), self.block))


OTHERS: dict[str, Callable[[int], bytes]] = {
    "arrays of the same name in another member": lambda n: (
        b'{"other": [' + b'{"traceEvents": [1]},' * (n // 21) + b"0]"
    ),
    "brackets": lambda n: b'{"other": ' + b"[" * n,
    "quotes": lambda n: b'{"other": [' + b'"",' * (n // 3) + b"0]",
    "backslashes": lambda n: b'{"other": "' + b"\\\\" * (n // 2) + b'"',
    "a string without end": lambda n: b'{"other": "' + b"x" * n,
    "the name without an array": lambda n: b'{"other": [' + b'"traceEvents", ' * (n // 15) + b"0]",
    "the name and spaces": lambda n: (
        b'{"other": [' + (b'"traceEvents"' + b" " * 1000) * (n // 1013) + b"0]"
    ),
}


@pytest.mark.parametrize("head", OTHERS)
@pytest.mark.parametrize("block", [100, 1 << 20])
def test_the_begin_of_the_event_array_is_found_in_linear_time(
    monkeypatch: pytest.MonkeyPatch, head: str, block: int
) -> None:
    """Quadratic work took 4 s for 64 KB and would take hours for 3 MB."""
    text = OTHERS[head](1_000_000) + b', "traceEvents": [' + EVENT + b"]}"
    blocks = Counted(text, block, monkeypatch)
    split = Pieces(blocks)
    if head in ("brackets", "a string without end"):  # the outermost object never holds it
        first = next(iter(split), None) if head == "brackets" else None
        assert first is None or bytes(first).startswith(EVENT)
        if head == "a string without end":
            list(split)
    else:
        assert bytes(next(iter(split))).startswith(EVENT)
        assert split.head == text[: text.rindex(b'"traceEvents"')]
    assert blocks.scanned <= 4 * len(text) + block


def test_reading_a_long_head_without_an_event_array_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "LONGEST_HEAD", 1 << 20)
    read = 0

    def blocks() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1 << 16
            yield b"[" * (1 << 16) if read > 1 << 16 else b"{" + b"[" * 100

    with pytest.raises(NoEvents):
        next(iter(Pieces(blocks())))
    assert read <= 3 << 20


def test_gzip_members_of_one_byte_are_joined_once(tmp_path: Path) -> None:
    file = tmp_path / "a.json.gz"
    head = b'{"a": "' + b"x" * 3000 + b'", "traceEvents": ['
    text = head + EVENT + b"]}"
    file.write_bytes(
        b"".join(gzip.compress(text[at : at + 1], 1, mtime=0) for at in range(len(text)))
    )
    ops = load_trace(file).table("ops")
    assert ops is not None and ops["name"].tolist() == ["aten::mm"]


@pytest.mark.parametrize(
    "text", [b'{"a":[1]}', b'"\\"{"[', b'"\\\\"[', b'"\\\\\\"[', b"]]{", b'"', b""]
)
def test_the_depth_of_each_byte_is_that_of_a_byte_by_byte_scan(text: bytes) -> None:
    assert depth(text).tolist() == reference(text)


def reference(text: bytes) -> list[int]:
    """Return the depth of each byte by a byte-by-byte scan."""
    depths, level, quoted, escaped = [], 0, False, False
    for byte in text:
        if quoted:
            depths.append(-1)
            quoted, escaped = (
                not (byte == ord('"') and not escaped),
                byte == ord("\\") and not escaped,
            )
            continue
        level += (byte in b"{[") - (byte in b"}]")
        depths.append(level)
        quoted, escaped = byte == ord('"'), False
    return depths


def test_names_are_classified_in_linear_time() -> None:
    assert (
        launch_kind("enqueue" * 200_000) == "other"
        and launch_kind("clEnqueueNDRangeKernel") == "kernel"
    )
    assert (
        collective_kind("recv" * 200_000) == "recv" and collective_kind("SendRecv") == "send_recv"
    )
    assert (
        collective_kind("ncclRecvThenSend") == "send_recv"
        and collective_kind("send" * 200_000) == "send"
    )


def hashed_alike(count: int) -> list[bytes]:
    """Return names of eight letters with one hash in the compiled reader, which computes names.c
    backwards.
    """
    inverse, start = (
        np.uint64(pow(0xD6E8FEB86659FD93, -1, 2**64)),
        np.uint64(8 * 0x9E3779B97F4A7C15 % 2**64),
    )
    half, wanted, size = np.uint64(32), np.uint64(12345), 3_000_000
    found: list[bytes] = []
    for chunk in range(1000):
        upper = np.arange(chunk * size, (chunk + 1) * size, dtype=np.uint64)
        last = (upper << half | (wanted ^ upper)) * inverse
        word = ((last ^ (last >> half)) * inverse) ^ start
        letters = word.view(np.uint8).reshape(-1, 8)
        plain = ((letters >= 0x23) & (letters < 0x7F) & (letters != 0x5C)).all(axis=1)
        found += [bytes(row) for row in letters[plain]]
        if len(found) >= count:
            break
    return found[:count]


@COMPILED
def test_names_with_one_hash_are_read_by_the_python_reader() -> None:
    names = hashed_alike(1500)
    assert len(set(names)) == 1500
    few, many = (
        b",".join(EVENT.replace(b"aten::mm", name) for name in some)
        for some in (names[:100], names)
    )
    assert parse_compiled(few) is not None
    assert parse_compiled(many) is None
    in_python: Any = parse_in_python(many).groups["ops"]["name"]
    assert len(in_python.names) == 1500


def test_a_damaged_name_is_repaired_in_linear_time() -> None:
    """A search from each begin of a name to the end of the event would take minutes."""
    event = b'{"\x01":1,' + b'"name": "x' * 200_000 + b" 1}"
    assert with_plain_name(event)[1]["invalid-text"] == 1


def test_many_groups_of_ranks_are_named_in_one_pass(tmp_path: Path) -> None:
    talk = {"Collective name": "allreduce", "Process Group Name": "g"}
    events = [
        {**kernel(ts=at, args={**talk, "Process Group Ranks": f"[{at}]"}), "name": "ncclDevKernel"}
        for at in range(20_000)
    ]
    collectives = load_trace(write_events(tmp_path / "a.json", events)).table("collectives")
    assert collectives is not None and collectives["group"].nunique() == 20_000


COMMA = """
import json, locale, sys
from perfscope.traces.kineto.compiled_parser import parse_compiled
from perfscope.traces.load import load_trace
from pathlib import Path
locale.setlocale(locale.LC_ALL, "")
assert locale.localeconv()["decimal_point"] == ",", "the locale is not set"
ops = load_trace(Path(sys.argv[1])).table("ops")
is_compiled = parse_compiled(sys.argv[2].encode()) is not None
print(json.dumps([is_compiled, ops["ts"].tolist(), ops["dur"].tolist()]))
"""


@pytest.fixture(scope="module")
def comma_locale(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of a program whose numbers have a decimal comma."""
    listed = (
        subprocess.run(["locale", "-a"], capture_output=True, text=True).stdout.split()
        if shutil.which("locale")
        else []
    )
    installed = next(
        (item for item in listed if item.startswith("de_DE") and "utf" in item.lower()), None
    )
    if installed is not None:
        return {**os.environ, "LC_ALL": installed}
    folder = tmp_path_factory.mktemp("locales")
    make = ["localedef", "-i", "de_DE", "-f", "UTF-8", str(folder / "de_DE.UTF-8")]
    if (
        shutil.which("localedef") is None
        or subprocess.run(make, capture_output=True).returncode > 1
    ):
        pytest.skip("no locale with a decimal comma is installed, and none can be made")
    if not (folder / "de_DE.UTF-8" / "LC_NUMERIC").exists():
        pytest.skip("no locale with a decimal comma is installed, and none can be made")
    return {**os.environ, "LC_ALL": "de_DE.UTF-8", "LOCPATH": str(folder)}


@COMPILED
def test_fractions_are_read_in_a_program_whose_numbers_have_a_comma(
    tmp_path: Path, comma_locale: dict[str, str]
) -> None:
    """Parsing that follows the locale would lose fractions, and durations below a microsecond would
    be 0.
    """
    text = '{"ph":"X","cat":"cpu_op","name":"a","pid":1,"tid":1,"ts":12.3456789,"dur":0.7501234}'
    file = tmp_path / "a.json"
    file.write_text(f'{{"traceEvents":[{text.replace("12.3456789", "11.0000001")},{text}]}}')
    call = [sys.executable, "-c", COMMA, str(file), text]
    done = subprocess.run(call, capture_output=True, text=True, env=comma_locale)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, [0, 1346], [750, 750]]


OP = b'{"ph":"X","cat":"cpu_op","name":"a",'
DIFFERENT = {
    "an exponent beyond a double, read for other groups": (
        OP + b'"ts":1,"dur":1,"args":{"stream":1e999}}'
    ),
    "an exponent beyond a double, not read": OP + b'"ts":1,"dur":1,"args":{"x":1e999}}',
    "digits beyond a double, not read": OP + b'"ts":1,"dur":1,"x":' + b"9" * 400 + b".5}",
    "more digits than Python takes": OP + b'"ts":1,"dur":1,"x":' + b"9" * 5000 + b"}",
    "half a pair in a text taken whole": OP + b'"ts":1,"dur":1,"args":{"Input Dims":"\\ud800"}}',
    "half a pair, the second": OP + b'"ts":1,"dur":1,"args":{"Input Dims":"\\uDC00"}}',
    "half a pair in a key": OP + b'"ts":1,"dur":1,"\\ud800":1}',
    "a pair, whole": OP + b'"ts":1,"dur":1,"args":{"Input Dims":"\\ud83d\\ude00"}}',
    "two halves of the first kind": (
        b'{"ph":"X","cat":"cpu_op","name":"\\ud800\\ud800","ts":1,"dur":1}'
    ),
    "brackets after the array": EVENT + b"]]",
    "brackets and spaces after the array": EVENT + b"] ]\n]",
    "an empty array and a bracket": b"]]",
    "another array after the array": EVENT + b"][{}]",
    "the least int64 as a time": OP + b'"ts":-9223372036854775808,"dur":1}',
    "the least int64 as a duration": (
        b'{"ph":"X","cat":"kernel","name":["a"],"ts":1,"dur":-9223372036854775808}'
    ),
    "lists as ids": OP + b'"ts":1,"dur":1,"pid":[1,2],"tid":[3,4]}',
    "a time with a huge exponent": OP + b'"ts":"1e999999999","dur":1}',
    "a time beyond any": OP + b'"ts":4000000000000001,"dur":1}',
    "metadata of an odd category": (
        b'{"ph":"M","cat":{"a":1},"name":"process_name","pid":1,"args":{"name":"x"}}'
    ),
    "a NUL in a name": b'{"ph":"X","cat":"cpu_op","name":"a\\u0000b","ts":1,"dur":1}',
}


@COMPILED
@pytest.mark.parametrize("text", DIFFERENT)
def test_both_readers_give_the_same_result_or_the_compiled_reader_refuses(text: str) -> None:
    compiled = parse_compiled(DIFFERENT[text])
    try:
        plain = parse_in_python(DIFFERENT[text])
    except msgspec.DecodeError:
        assert compiled is None
        return
    assert compiled is None or alike(compiled) == alike(plain)


@pytest.mark.parametrize(
    "facts", [{"rank": [1]}, {"rank": 10**30}, {"rank": True, "world_size": 10**30, "backend": {}}]
)
def test_facts_of_another_type_are_ignored(tmp_path: Path, facts: dict[str, object]) -> None:
    device = {"id": [0], "name": {}, "numSms": 10**30, "totalGlobalMem": [1]}
    around = {
        "distributedInfo": facts,
        "deviceProperties": [device, 5, None],
        "baseTimeNanoseconds": 10**30,
    }
    deep: object = []
    for _ in range(400):
        deep = [deep]
    file = write_events(
        tmp_path / "a.json", [event(), launch(), kernel(), event(deep)], trace_id=deep, **around
    )
    assert load_trace(file).manifest.zero_realtime_ns == 10_000


def test_a_rank_of_many_digits_in_a_name_is_ignored(tmp_path: Path) -> None:
    for name in (f"rank{'9' * 40}.json", "rank٣.json"):
        assert load_trace(write_events(tmp_path / name, [event()])).table("ranks") is not None


def test_a_trace_whose_name_is_not_utf_8_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_events(
        tmp_path / os.fsdecode(b"\xff\xfe.json"),
        [event(), launch(), kernel(), {**event(), "cat": "kernel"}],
    )
    assert load_trace(file).table("ranks") is not None
    for words in (
        ["analyze", str(file), "--json"],
        ["analyze", str(file)],
        ["report", str(file), "-o", str(tmp_path / "o")],
    ):
        assert main(words) == 0, capsys.readouterr().err
    assert "\\\\xff\\\\xfe.json" in capsys.readouterr().out


def test_a_link_to_a_pipe_is_refused_as_a_trace(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.json").symlink_to(tmp_path / "pipe")
    with pytest.raises(UnreadableRun):
        load_trace(tmp_path / "a.json")


def test_a_small_compressed_file_uses_bounded_memory(tmp_path: Path) -> None:
    file = tmp_path / "a.json.gz"
    file.write_bytes(gzip.compress(b'{"traceEvents":[' + b" " * (64 << 20) + b"]}", 9))
    tracemalloc.start()
    with pytest.raises(UnreadableRun):
        load_trace(file)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < 512 << 20


def test_reading_an_event_without_an_end_uses_bounded_memory(tmp_path: Path) -> None:
    """Blanks are compressed a thousand to one."""
    path = tmp_path / "blanks.json"
    with open(path, "wb") as file:
        file.write(b'{"traceEvents":[')
        for _ in range(400):
            file.write(b" " * (1 << 20))
    limited = [
        "sh",
        "-c",
        f"ulimit -v {3 << 20}; exec {sys.executable} -m perfscope analyze {path}",
    ]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    blocks = [b'{"traceEvents":[', *([b" " * (1 << 20)] * 400)]
    with pytest.raises(NoEvents):
        list(Pieces(blocks))


class CountedPattern:
    """A pattern that counts how often it is used."""

    def __init__(self, pattern: "re.Pattern[bytes]") -> None:
        self.pattern, self.calls = pattern, 0

    def finditer(self, text: bytes, start: int, end: int) -> Iterator["re.Match[bytes]"]:
        self.calls += 1
        return self.pattern.finditer(text, start, end)


@pytest.mark.parametrize("filler", [b"}", b"} ", b"},", b"{"])
def test_a_text_of_object_ends_is_searched_once(
    filler: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search at each end of an object, and again for each longer text, took half a minute for 60
    KB.
    """
    between = CountedPattern(pieces.BOUNDARY)
    monkeypatch.setattr(pieces, "BOUNDARY", between)
    blocks = [b'{"traceEvents":[', *[filler * ((1 << 20) // len(filler))] * 24]
    assert len(b"".join(Pieces(blocks))) == 24 << 20
    assert 0 < between.calls <= 2 * (24 << 20) // pieces.SEARCHED_AT_ONCE
