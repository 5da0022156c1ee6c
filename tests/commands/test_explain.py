"""`explain`: every id and cause has its text; a typing error is answered with what was meant."""

import pytest

from perfscope.analyzer.findings import RULES
from perfscope.analyzer.input.causes import CAUSES
from perfscope.cli import main


@pytest.mark.parametrize(
    "known", [*RULES, *(cause.CAUSE for cause in CAUSES), "input-bound/decode-bound"]
)
def test_every_finding_and_cause_is_explained(
    known: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", known]) == 0
    text = capsys.readouterr().out
    headings = ["How it is detected", "What to do", "When it is wrong"]
    if known in RULES:
        headings.append("What it means")
    assert [heading for heading in headings if heading not in text] == []


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("input-bond", "input-bound"),
        ("decode-bond", "decode-bound"),
        ("input-bound/storage-bnd", "storage-bound"),
    ],
)
def test_an_unknown_id_is_refused_with_a_similar_id(
    typed: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", typed]) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1
    assert repr(typed) in output.err and meant in output.err


def test_an_unknown_id_is_answered_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "zzz"]) == 2
    error = capsys.readouterr().err
    assert "'zzz'" in error and "`perfscope explain`" in error
    assert error.count("\n") == 1 and len(error) <= 100
