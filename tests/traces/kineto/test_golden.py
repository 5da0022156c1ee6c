"""The tables of a small trace, compared with the reviewed ones."""

import json

import pytest

from perfscope.traces.kineto import compiled_parser
from tests.traces.kineto.golden.tables import GOLDEN, tables


def test_the_tables_are_the_golden_ones() -> None:
    assert tables() == json.loads(GOLDEN.read_text())


def test_the_tables_without_the_compiled_reader_are_the_golden_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiled_parser, "compiled_reader", None)
    assert tables() == json.loads(GOLDEN.read_text())
