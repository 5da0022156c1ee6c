"""Short fuzz runs with a fixed seed: mutated inputs for the readers and the commands; `make
test-long` runs longer ones.
"""

import json
from pathlib import Path

import pytest

from tests.safety import long_fuzz_commands, long_fuzz_readers
from tests.safety.long_fuzz_commands import Commands, Done
from tests.safety.long_fuzz_readers import KINDS, Count, Fuzzer, read_one


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("piece", 2000),
        ("kineto", 20),
        ("packed", 12),
        ("run_folder", 8),
        ("records", 5),
        ("nsys", 15),
    ],
)
def test_mutated_inputs_are_read_or_refused(tmp_path: Path, kind: str, inputs: int) -> None:
    fuzzer, count = Fuzzer(tmp_path), Count()
    for number in range(inputs):
        read_one(fuzzer, kind, number, 3, count)
    assert count.failures == [] and count.past / count.inputs > 0.3 and set(KINDS) >= {kind}


def test_commands_read_or_refuse_mutated_inputs() -> None:
    counts = long_fuzz_commands.fuzz(12, seed=3)
    assert counts.failures == [] and sum(counts.commands.values()) == 12


def test_the_fuzzers_find_injected_faults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    count = Count()

    def broken(text: bytes) -> object:
        raise KeyError(json.dumps(len(text)))

    monkeypatch.setattr(long_fuzz_readers, "parse_in_python", broken)
    read_one(Fuzzer(tmp_path), "piece", 1, 1, count)
    assert len(count.failures) == 1 and "KeyError" in count.failures[0]
    assert (
        Done(1, "", "Traceback (most recent call last):", 0.1, 0).fault()
        and Done(-11, "", "", 0.1, 0).fault()
    )
    assert Done(0, "", "", 11.0, 0).fault() and Done(2, "", "perfscope: x", 0.1, 0).fault() is None


def test_the_same_number_gives_the_same_input(tmp_path: Path) -> None:
    import random

    commands = Commands(tmp_path)
    texts = []
    for _ in range(2):
        words, _ = commands.command(random.Random("1 5"))
        texts.append(
            (
                words,
                sorted(
                    (str(path), path.stat().st_size)
                    for path in tmp_path.rglob("*")
                    if path.is_file()
                ),
            )
        )
        commands.clean()
    assert texts[0] == texts[1]
