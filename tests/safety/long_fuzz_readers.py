"""Reads mutated inputs of every format in this process: `python -m tests.safety.long_fuzz_readers
--count 1000000`.

Fails on an exception that is not a PerfscopeError, on a difference between the compiled and the
Python reader, on an input that takes more than ten seconds, and on memory that grows. `--only
KIND:NUMBER` reads one input again.
"""

import argparse
import gc
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from perfscope.errors import PerfscopeError
from perfscope.traces import nesting
from perfscope.traces.kineto import compiled_parser
from perfscope.traces.kineto.columns import CodedNames
from perfscope.traces.kineto.layout import ParsedPiece
from perfscope.traces.kineto.piece_parser import parse_in_python
from perfscope.traces.load import load_trace
from perfscope.traces.run_folder.growing import GrowingRun
from perfscope.traces.run_folder.kernel_windows import cached_window_trace
from perfscope.traces.run_folder.tables import trace_of
from perfscope.traces.trace import Trace
from tests.safety import seeds
from tests.safety.mutations import Mutator

LONGEST_S = 10
"""Of an input, in time of a core."""
LONGEST_WAIT_S = 60
"""After which reading hangs, also on a busy machine."""
MOST_GROWTH_BYTES = 400 << 20
WARM_UP = 500
WINDOW_NS = 3_600_000_000_000
FEWEST_PAST_FIRST_CHECK = 0.3


class TooSlow(BaseException):
    """An input took more than LONGEST_S."""


class Different(AssertionError):
    """The compiled and the Python reader gave different results."""


@dataclass
class Count:
    """What became of the inputs of one kind; `past` of them got past the first check."""

    inputs: int = 0
    past: int = 0
    compiled: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


def alike(part: ParsedPiece) -> Any:
    """A part as something that can be compared."""
    columns = {
        group: {
            name: (
                [column.names[code] if code >= 0 else None for code in column.codes]
                if isinstance(column, CodedNames)
                else (str(column.dtype), column.tolist())
            )
            for name, column in columns.items()
        }
        for group, columns in part.groups.items()
    }
    return columns, repr(part.meta), part.left_out, part.events, part.ended_at


def tables_of(trace: Trace) -> Any:
    """A trace as something that can be compared."""
    return (
        {
            name: frame.astype(object).where(frame.notna(), None).to_dict("list")
            for name, frame in trace._tables.items()
        },
        msgspec.json.encode(trace.manifests),
        trace.span_ns,
        trace.damaged_records,
    )


@contextmanager
def without_compiled_reader() -> Iterator[None]:
    """The Python way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled_parser, "compiled_reader", None)
        patch.setattr(nesting, "COMPILED", None)
        yield


class Fuzzer:
    """Makes the inputs of each kind and reads them; each method returns whether the input got past
    the first check.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pieces = seeds.pieces()
        self.trace = seeds.kineto_trace()
        self.run_seed = seeds.run_folder(folder / "seed.perfscope")
        self.exports = [
            seeds.nsys_export(folder / f"seed{new}.sqlite", bool(new)).read_bytes()
            for new in (0, 1)
        ]
        self.compiled = 0

    def piece(self, chance: random.Random) -> bool:
        """A piece of the event array, both ways."""
        mutator = Mutator(chance)
        text = chance.choice(self.pieces)
        if chance.random() < 0.5:
            events = chance.choices(self.trace["traceEvents"], k=chance.randint(1, 4))
            text = mutator.by_structure(events)[1:-1] + chance.choice(
                (b"", b"", b"]", b"]]", b'] , "a": 1}', b"],{}")
            )
        else:
            text = mutator.by_bytes(text, 3)
        return self.both_ways(text)

    def both_ways(self, text: bytes) -> bool:
        compiled = compiled_parser.parse_compiled(text) if compiled_parser.is_available() else None
        try:
            plain = parse_in_python(text)
        except msgspec.DecodeError:
            if compiled is not None:
                raise Different(f"only the compiled reader takes {text!r}") from None
            return False
        if compiled is not None:
            self.compiled += 1
            if alike(compiled) != alike(plain):
                raise Different(f"{text!r}: {alike(compiled)} and {alike(plain)}")
        return True

    def small_trace(self, chance: random.Random) -> dict[str, Any]:
        """A trace with a few of the events."""
        events = self.trace["traceEvents"]
        return {**self.trace, "traceEvents": chance.sample(events, chance.randint(1, len(events)))}

    def kineto(self, chance: random.Random) -> bool:
        """A trace file, both ways."""
        path = self.folder / chance.choice(("a.json", "rank3.json", "a.bin"))
        path.write_bytes(Mutator(chance).either(self.small_trace(chance)))
        return self.same_both_ways(path)

    def packed(self, chance: random.Random) -> bool:
        """A packed trace file, both ways."""
        path = self.folder / "a.json.gz"
        mutator = Mutator(chance)
        path.write_bytes(mutator.packed(mutator.either(self.small_trace(chance))))
        return self.same_both_ways(path)

    def same_both_ways(self, path: Path) -> bool:
        results = []
        for python_only in (False, True):
            with without_compiled_reader() if python_only else nullcontext():
                try:
                    results.append(tables_of(load_trace(path)))
                except PerfscopeError as error:
                    results.append(str(error))
        if repr(results[0]) != repr(results[1]):
            raise Different(f"{path.read_bytes()!r}: {results[0]} and {results[1]}")
        path.unlink()
        # Beyond the sniffing: what was taken for a trace, whatever came of it.
        return not isinstance(results[0], str) or "perfscope reads" not in results[0]

    def run_folder(self, chance: random.Random) -> bool:
        """A run folder with a few changed files, whole and as it grows."""
        folder = self.folder / "run.perfscope"
        shutil.copytree(self.run_seed, folder)
        mutator = Mutator(chance)
        for _ in range(chance.randint(1, 3)):
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            self.change(mutator, chance.choice(files), chance)
        try:
            load_trace(folder)
            grows = GrowingRun(folder, WINDOW_NS)
            grows.update()
            trace_of(grows)
            return True
        except PerfscopeError:
            return False
        finally:
            shutil.rmtree(folder)
            cached_window_trace.cache_clear()

    def change(self, mutator: Mutator, path: Path, chance: random.Random) -> None:
        """Change one file of a run folder by what it is."""
        if chance.random() < 0.03:
            path.rename(
                path.with_name(chance.choice(("000000.open", "000003.jsonl", "000009.arrow", "x")))
            )
            return
        data = path.read_bytes()
        if path.name == "manifest.json":
            data = self.change_json(mutator, data, 0.8)
        elif path.suffix == ".jsonl":
            lines = data.splitlines()
            at = chance.randrange(len(lines) or 1)
            if lines and chance.random() < 0.7:
                lines[at] = self.change_json(mutator, lines[at], 1)
                data = b"\n".join(lines) + b"\n"
            else:
                data = mutator.by_bytes(data)
        elif path.suffix == ".gz":
            data = mutator.packed(mutator.either(self.small_trace(chance)))
        else:
            data = mutator.by_bytes(data, 6) if chance.random() < 0.8 else mutator.cut(data)
        path.write_bytes(data)

    def change_json(self, mutator: Mutator, text: bytes, share: float) -> bytes:
        """Return JSON changed by its structure, or by bytes: what was changed before may be no JSON
        any more.
        """
        try:
            return (
                mutator.by_structure(json.loads(text))
                if mutator.random.random() < share
                else mutator.by_bytes(text)
            )
        except (ValueError, RecursionError):
            return mutator.by_bytes(text)

    def records(self, chance: random.Random) -> bool:
        """The Arrow stream of a run folder, of which only cells are changed: it is always read."""
        folder = self.folder / "run.perfscope"
        shutil.copytree(self.run_seed, folder)
        [path] = (folder / "streams" / "probe.records@0").iterdir()
        data = bytearray(path.read_bytes())
        body = np.frombuffer(
            data, np.int64, (len(data) - 4000) // 8, len(data) - (len(data) - 4000) // 8 * 8
        )
        for _ in range(chance.randint(1, 8)):
            odd = chance.choice(
                (
                    0,
                    1,
                    -1,
                    2**63 - 1,
                    -(2**63),
                    1 << 59,
                    1 << 40,
                    seeds.ZERO_NS,
                    chance.randrange(20),
                )
            )
            at = 8 * chance.randrange(len(body)) + len(data) - 8 * len(body)
            data[at : at + 8] = odd.to_bytes(8, "little", signed=True)
        path.write_bytes(data)
        try:
            load_trace(folder)
            return True
        except PerfscopeError:
            return False
        finally:
            shutil.rmtree(folder)
            cached_window_trace.cache_clear()

    def nsys(self, chance: random.Random) -> bool:
        """An export of Nsight Systems."""
        path = self.folder / "a.sqlite"
        path.write_bytes(chance.choice(self.exports))
        Mutator(chance).database(path)
        try:
            load_trace(path)
            return True
        except PerfscopeError as error:
            return "contains no events" in str(error)
        finally:
            path.unlink()


KINDS: dict[str, tuple[Callable[[Fuzzer, random.Random], bool], float]] = {
    "piece": (Fuzzer.piece, 0.986),
    "kineto": (Fuzzer.kineto, 0.005),
    "packed": (Fuzzer.packed, 0.003),
    "run_folder": (Fuzzer.run_folder, 0.003),
    "records": (Fuzzer.records, 0.001),
    "nsys": (Fuzzer.nsys, 0.002),
}
"""How to make and read an input of each kind, and which share of the inputs is of it."""


def memory_bytes() -> int:
    """Resident memory of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def read_one(fuzzer: Fuzzer, kind: str, number: int, seed: int, count: Count) -> None:
    """Make and read one input; a failure is noted, with how to make it again."""
    read, _ = KINDS[kind]
    before, compiled = time.monotonic(), fuzzer.compiled
    signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_WAIT_S)
    try:
        count.past += read(fuzzer, random.Random(f"{seed} {kind} {number}"))
    except (Exception, TooSlow) as error:  # noqa: BLE001  whatever it is, it is a failure
        frames = "".join(traceback.format_exception(error)[-4:])
        count.failures.append(f"--seed {seed} --only {kind}:{number}\n{frames[-3000:]}")
        for left in fuzzer.folder.iterdir():
            if not left.name.startswith("seed"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    count.inputs += 1
    count.compiled += fuzzer.compiled - compiled
    count.seconds += time.monotonic() - before


def out_of_time(number: int, frame: Any) -> None:
    raise TooSlow


def fuzz(
    total: int, seed: int, say: Callable[[str], None] = print, most_failures: int = 20
) -> dict[str, Count]:
    """Read `total` inputs, and return how that ended, by kind; growing memory is another kind of
    failure.
    """
    counts = {kind: Count() for kind in KINDS}
    memory = counts["memory"] = Count()
    signal.signal(signal.SIGALRM, out_of_time)
    signal.signal(signal.SIGPROF, out_of_time)
    room = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=room, prefix="perfscope-fuzz-") as folder:
        fuzzer, printed_s = Fuzzer(Path(folder)), time.monotonic()
        kinds, weights = list(KINDS), [share for _, share in KINDS.values()]
        chance, baseline = random.Random(seed), 0
        for number in range(total):
            kind = chance.choices(kinds, weights)[0]
            before = len(counts[kind].failures)
            read_one(fuzzer, kind, number, seed, counts[kind])
            for line in counts[kind].failures[before:]:
                say(f"FAILED {kind}: {line}")
            if number == WARM_UP:
                gc.collect()
                baseline = memory_bytes()
            if (
                number > WARM_UP
                and number % 2000 == 0
                and memory_bytes() - baseline > MOST_GROWTH_BYTES
            ):
                memory.failures.append(
                    f"{(memory_bytes() - baseline) >> 20} MB more after {number} inputs of seed"
                    f" {seed}"
                )
                break
            if time.monotonic() - printed_s > 60:
                printed_s = time.monotonic()
                say(
                    f"{number + 1:,} inputs, {memory_bytes() >> 20} MB, failures:"
                    f" {failures(counts)}"
                )
            if failures(counts) >= most_failures:
                break
    return counts


def failures(counts: dict[str, Count]) -> int:
    return sum(len(count.failures) for count in counts.values())


def print_counts(counts: dict[str, Count]) -> bool:
    """Print how reading the inputs ended; return whether none failed."""
    for kind, count in counts.items():
        if count.inputs:
            rate = (
                f"{count.past / count.inputs:.0%} past the first check,"
                f" {1e3 * count.seconds / count.inputs:.2f} ms each"
            )
            print(
                f"{kind}: {count.inputs:,} inputs, {rate}, {count.compiled:,} taken by the compiled"
                " reader"
            )
    inputs, past = (
        sum(getattr(count, name) for count in counts.values()) for name in ("inputs", "past")
    )
    share = past / max(inputs, 1)
    print(f"all: {inputs:,} inputs, {share:.0%} past the first check, {failures(counts)} failures, "
          f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB at most")  # fmt: skip
    return not failures(counts) and share >= FEWEST_PAST_FIRST_CHECK


def main() -> int:
    """Fuzz, or read one input again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", metavar="KIND:NUMBER", help="read this input alone")
    args = parser.parse_args()
    if args.only is None:
        counts = fuzz(args.count, args.seed, lambda line: print(line, flush=True))
        return 0 if print_counts(counts) else 1
    kind, _, number = args.only.partition(":")
    with tempfile.TemporaryDirectory() as folder:
        read, _ = KINDS[kind]
        print(read(Fuzzer(Path(folder)), random.Random(f"{args.seed} {kind} {number}")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
