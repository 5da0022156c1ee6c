"""Mutated inputs for the fuzzers: bytes changed at random, JSON changed by its structure, SQLite
changed by its cells.

Every input follows from a seed and its number, so that one that fails can be made again.
"""

import gzip
import json
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

ODD_NUMBERS = (
    *(
        "0",
        "-0",
        "-1",
        "1",
        "2147483648",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
    ),
    *(
        "-9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "1" + "0" * 30,
        "9" * 400,
        "9" * 5000,
    ),
    *(
        "1e308",
        "1e309",
        "-1e400",
        "1e-400",
        "0e99999",
        "1E5",
        "1.5",
        "0.0005",
        "123456789.123456",
        "1e999999999",
    ),
    *(
        "4e15",
        "7e18",
        "8699999999999.99951",
        "1682725898237042.1255",
        "NaN",
        "-Infinity",
        "01",
        "1.",
        ".5",
        "+1",
        "0x10",
    ),
)
ODD_TEXTS = (
    *(
        '""',
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '"\\ud83d\\ude00"',
        '"\\u0000"',
        '"\x1b[31m"',
        '"12.0005"',
        '"1e999999999"',
    ),
    *(
        '"0x10"',
        '"X"',
        '"M"',
        '"i"',
        '"kernel"',
        '"cpu_op"',
        '"[memory]"',
        '"ProfilerStep#1"',
        '"nccl"',
        '"a\xff"',
        '"\u202e"',
    ),
    *(
        '"' + "a" * 300 + '"',
        '"void gemm<(anonymous namespace)"',
        '"rank"',
        '"host"',
        '"NaN"',
        '"-"',
        '"../../etc/passwd"',
    ),
)
ODD_VALUES = (
    *ODD_NUMBERS,
    *ODD_TEXTS,
    *(
        "null",
        "true",
        "false",
        "[]",
        "{}",
        "[[]]",
        '{"a":1}',
        "[1,2]",
        '["x"]',
        "[" * 80 + "]" * 80,
        '{"a":' * 70 + "1" + "}" * 70,
    ),
    *(
        "[" * 3000 + "]" * 3000,
        "[" * 40,
        "]]",
        "]}",
        "},{",
        '{"traceEvents":[',
        "/*",
        ",",
        ":",
        "\\",
    ),
)
BYTES = b'"\\{}[],:.0-9eE \x00\xff\n\tnu\xed\xa0\x80'


class Mutator:
    """Changes one input; `random` decides everything."""

    def __init__(self, chance: random.Random) -> None:
        self.random = chance

    def by_bytes(self, data: bytes, most: int = 4) -> bytes:
        """Return `data` with a few changes."""
        changed = bytearray(data)
        for _ in range(self.random.randint(1, most)):
            if not changed:
                break
            self.random.choice(self.WAYS)(self, changed, self.random.randrange(len(changed)))
        return bytes(changed)

    def flip(self, data: bytearray, at: int) -> None:
        data[at] ^= 1 << self.random.randrange(8)

    def put(self, data: bytearray, at: int) -> None:
        data[at] = self.random.choice(BYTES)

    def remove(self, data: bytearray, at: int) -> None:
        del data[at : at + self.random.choice((1, 1, 2, 8, 40))]

    def repeat(self, data: bytearray, at: int) -> None:
        data[at:at] = data[at : at + self.random.choice((1, 4, 40, 200))]

    def insert(self, data: bytearray, at: int) -> None:
        data[at:at] = self.random.choice(ODD_VALUES).encode("utf-8", "surrogatepass")

    def number(self, data: bytearray, at: int) -> None:
        """Four or eight bytes of a count, a size or an offset."""
        size = self.random.choice((4, 8))
        value = self.random.choice((0, 1, -1, 1 << 20, (1 << 31) - 1, -(1 << 31), len(data)))
        data[at : at + size] = value.to_bytes(size, "little", signed=True)

    WAYS: "tuple[Callable[[Mutator, bytearray, int], None], ...]" = (
        flip,
        put,
        put,
        remove,
        repeat,
        insert,
        number,
    )

    def cut(self, data: bytes) -> bytes:
        """Return the beginning of `data`."""
        return data[: self.random.randrange(len(data) + 1)]

    def by_structure(self, value: Any, most: int = 3) -> bytes:
        """Return the text of a JSON value in which a few values, keys or members are other ones;
        mostly still JSON.
        """
        marks: dict[str, str] = {}
        for _ in range(self.random.randint(1, most)):
            value = self.within(value, marks, 0)
        text = json.dumps(
            value,
            ensure_ascii=self.random.random() < 0.8,
            separators=self.random.choice(((",", ":"), (", ", ": "))),
        )
        for mark, odd in marks.items():
            text = text.replace(f'"{mark}"', odd)
        return text.encode("utf-8", "surrogatepass")

    def within(self, value: Any, marks: dict[str, str], depth: int) -> Any:
        """Return `value` with one change in it."""
        chance = self.random.random()
        if isinstance(value, dict) and value and chance < 0.93:
            key = self.random.choice(list(value))
            if chance < 0.05:
                return {name: item for name, item in value.items() if name != key}
            if chance < 0.10:
                other = self.random.choice(list(value))
                return {**value, other: value[key]}
            return {**value, key: self.within(value[key], marks, depth + 1)}
        if isinstance(value, list) and value and chance < 0.93:
            at = self.random.randrange(len(value))
            if chance < 0.05:
                return value[:at] + value[at + 1 :]
            if chance < 0.10:
                return [*value, value[at]]
            return [*value[:at], self.within(value[at], marks, depth + 1), *value[at + 1 :]]
        mark = f"@{len(marks)}@"
        marks[mark] = self.random.choice(ODD_VALUES)
        return mark

    def either(self, value: Any) -> bytes:
        """Return a JSON value as text: changed by structure (mostly), by bytes, or both."""
        chance = self.random.random()
        if chance < 0.7:
            return self.by_structure(value)
        text = json.dumps(value).encode() if chance < 0.9 else self.by_structure(value)
        return self.by_bytes(text) if chance < 0.97 else self.cut(text)

    def packed(self, text: bytes) -> bytes:
        """Return `text` packed, sometimes as several members, damaged or cut."""
        at = self.random.randrange(len(text) + 1) if self.random.random() < 0.2 else 0
        data = (gzip.compress(text[:at], 1, mtime=0) if at else b"") + gzip.compress(
            text[at:], 1, mtime=0
        )
        chance = self.random.random()
        if chance < 0.08:
            return self.by_bytes(data, 2)
        return self.cut(data) if chance < 0.12 else data

    def database(self, path: Path) -> None:
        """Change an SQLite file in place: cells, columns and tables (mostly), or bytes."""
        if self.random.random() < 0.25:
            path.write_bytes(self.by_bytes(path.read_bytes(), 6))
            return
        with closing(sqlite3.connect(path)) as connection:
            tables = [
                name
                for (name,) in connection.execute(
                    "SELECT name FROM sqlite_master WHERE type = 'table'"
                )
            ]
            for _ in range(self.random.randint(1, 4)):
                self.cells(connection, self.random.choice(tables))
            connection.commit()

    def cells(self, connection: sqlite3.Connection, table: str) -> None:
        """One change in one table."""
        columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
        if not columns:
            return
        column = self.random.choice(columns)
        chance = self.random.random()
        if chance < 0.04:
            connection.execute(f'ALTER TABLE "{table}" RENAME TO "{table}x"')
        elif chance < 0.10:
            connection.execute(f'ALTER TABLE "{table}" RENAME COLUMN "{column}" TO "{column}x"')
        elif chance < 0.14:
            connection.execute(f'INSERT INTO "{table}" SELECT * FROM "{table}"')
        else:
            odd = self.random.choice(
                (
                    None,
                    0,
                    -1,
                    2**63 - 1,
                    -(2**63),
                    1e300,
                    "",
                    "x",
                    "\x1b[2J",
                    "9" * 400,
                    b"\xff\x00",
                    1 << 62,
                )
            )
            few = "" if self.random.random() < 0.3 else " WHERE abs(random()) % 3 = 0"
            connection.execute(f'UPDATE "{table}" SET "{column}" = ?{few}', (odd,))
