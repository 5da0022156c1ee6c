"""The terminal view: the same words in a pipe, on a terminal, and under NO_COLOR."""

import io
import os
import pty
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import msgspec
import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import CodeLocation, Diagnosis, Interval, NotChecked
from perfscope.analyzer.findings import FINDINGS
from perfscope.traces.run_folder.manifest import SourceStatus
from perfscope.ui.coverage import readable_name
from perfscope.ui.terminal.diagnosis_view import diagnosis_lines, show
from perfscope.ui.terminal.layout import SCREEN_LINES, TerminalLayout
from tests.build import trace
from tests.ui.diagnoses import CAVEAT, DECODING, DIAGNOSIS, EXPLANATION, SENTENCE, STALL
from tests.ui.sample_traces import input_bound

GOLDEN = (Path(__file__).parent / "terminal_screen.txt").read_text("utf-8")


def shown(diagnosis: Any = DIAGNOSIS, of: Any = None, *, verbose: bool = False) -> str:
    stream = io.StringIO()
    show(diagnosis, of, stream, verbose=verbose)
    return stream.getvalue()


@contextmanager
def terminal() -> Iterator[tuple[TextIO, int]]:
    """Return a stream that is a terminal, and the descriptor to read its output from."""
    output, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as stream, os.fdopen(output, "rb", buffering=0) as reader:
        yield stream, reader.fileno()


def on_terminal(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "100", **environment}.items():
        monkeypatch.setenv(name, value)
    if "NO_COLOR" not in environment:
        monkeypatch.delenv("NO_COLOR", raising=False)
    with terminal() as (stream, reader):
        show(DIAGNOSIS, None, stream)
        stream.flush()
        text = b""
        while b"perfscope explain input-bound/decode-bound\r\n" not in text:
            text += os.read(reader, 65536)
    return text.decode()


def words(text: str) -> list[str]:
    """Return the words without colors and fills."""
    return re.sub(r"\x1b\[[0-9;]*m|[▒█╱]", " ", text).split()


def test_the_view_in_a_pipe_is_the_golden_screen() -> None:
    assert shown() == GOLDEN


def test_a_terminal_has_the_same_words_in_color(monkeypatch: pytest.MonkeyPatch) -> None:
    text = on_terminal(monkeypatch)
    assert f"\x1b[1;33m{SENTENCE}" in text
    assert words(text) == words(GOLDEN)


def test_no_color_is_respected_and_the_bar_stays_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    text = on_terminal(monkeypatch, NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*(3|4|9)[0-9]", text)
    assert "▒▒▒▒" in text and "████" in text
    assert words(text) == words(GOLDEN)


@pytest.mark.parametrize("width", [60, 80, 100, 120])
@pytest.mark.parametrize("in_color", [True, False])
@pytest.mark.parametrize("verbose", [True, False])
def test_no_line_is_wider_than_the_terminal(width: int, in_color: bool, verbose: bool) -> None:
    layout = TerminalLayout(width=width, in_color=in_color, verbose=verbose)
    run = input_bound()
    lines = diagnosis_lines(diagnose_trace(run), run, layout) + diagnosis_lines(
        DIAGNOSIS, None, layout
    )
    # A command is not broken, so that it can be copied.
    texts = [line for line in lines if " perfscope " not in line.plain]
    assert [line.plain for line in texts if line.cell_len > width] == []


def test_a_number_keeps_its_unit() -> None:
    text = "\n".join(
        line.plain
        for width in range(60, 121)
        for line in diagnosis_lines(DIAGNOSIS, None, TerminalLayout(width=width))
    )
    assert not re.search(r"\d\n\s*(ms|s|%|MB)\b", text)


def crowded(findings: int) -> Diagnosis:
    """Return a diagnosis with many findings, and with many ids that were not checked."""
    first, *_ = DIAGNOSIS.findings
    others = [msgspec.structs.replace(STALL, key=f"checkpoint-stall#{n}") for n in range(findings)]
    groups = ("no-device", "no-driver", "no-kernels", "one-process", "too-short", "other")
    unchecked = [
        NotChecked(rule.id, "a reason", groups[number % len(groups)])
        for number, rule in enumerate(FINDINGS)
    ]
    return msgspec.structs.replace(
        DIAGNOSIS,
        findings=[first, *others],
        not_checked=unchecked,
        clear=[rule.id for rule in FINDINGS],
        dropped=[f"{count} segments" for count in range(20)],
    )


@pytest.mark.parametrize("findings", [0, 1, 3, 30])
def test_the_default_view_fits_one_screen(findings: int) -> None:
    """40 lines at 100 columns; `--verbose` has everything that it leaves out."""
    diagnosis = crowded(findings)
    text = shown(diagnosis)
    assert len(text.splitlines()) <= SCREEN_LINES
    everything = shown(diagnosis, verbose=True)
    assert len(everything.splitlines()) > SCREEN_LINES
    assert all(rule.id in everything for rule in FINDINGS)
    assert all(f"{count} segments" in everything for count in range(20))


def test_the_finding_of_the_verdict_is_first() -> None:
    """The finding of the verdict is first even where another costs more time."""
    sorted_by_loss = msgspec.structs.replace(DIAGNOSIS, findings=[STALL, DECODING])
    assert shown(sorted_by_loss).index("1 Decode") < shown(sorted_by_loss).index("2 Write")


def test_verbose_has_all_evidence_actions_and_slow_steps() -> None:
    text = shown(verbose=True)
    for finding in DIAGNOSIS.findings:
        assert all(fact.text in text for fact in finding.evidence)
        assert all(
            action.text in text.replace("Decode", "decode") for action in finding.actions[1:]
        )
    assert "step 97" in text and "tokens are not recorded" in text


def test_headline_explanation_and_caveat_are_not_cut() -> None:
    text = " ".join(shown().split())
    assert SENTENCE in text and f"{EXPLANATION} {CAVEAT}" in text


def test_the_line_of_code_is_named_with_its_share() -> None:
    share = Interval(0.72, 0.81, 0.88)
    where = CodeLocation("Env.step", "train.py", 41, None, 0, share)
    verdict = msgspec.structs.replace(DIAGNOSIS.verdict, where=where)
    text = shown(msgspec.structs.replace(DIAGNOSIS, verdict=verdict))
    assert "Env.step (train.py:41)" in " ".join(text.split())
    assert {"81 %", "72 %", "88 %"} <= set(re.findall(r"\d+ %", text))
    assert "train.py:41" not in shown()


def test_bound_by_and_the_verdict_have_different_confidences() -> None:
    line = next(line for line in shown().splitlines() if line.startswith("  bound by"))
    assert "confidence 0.87" in line and "confidence 0.96" in shown()


@pytest.mark.parametrize(("status", "removed"), [("ok", True), ("off", False)])
def test_patches_are_reported_as_removed_only_after_a_probe(status: str, removed: bool) -> None:
    recorded = trace()
    manifest = recorded.manifest
    manifest.finished, manifest.sources = True, [SourceStatus("probe", status)]
    assert ("removed" in shown(of=recorded)) is removed


def test_every_finding_has_a_readable_name() -> None:
    names = [readable_name(rule.id) for rule in FINDINGS]
    assert len(set(names)) == len(names) and not any(
        "-" in name.removesuffix("-bound") for name in names
    )


def test_lines_beyond_the_limit_are_left_out() -> None:
    stream = io.StringIO()
    show(DIAGNOSIS, None, stream, most_lines=6)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 6 and lines[2].startswith(SENTENCE) and lines[-1].startswith("  … ")


def test_the_first_line_has_the_name_and_the_pid() -> None:
    run = input_bound()
    first, second = shown(diagnose_trace(run), run).splitlines()[:2]
    assert first.startswith("train.py (pid 100): ")
    assert second.startswith("2 data-loader workers, 2 usable cores")


def test_the_first_lines_have_every_known_rate() -> None:
    """Steps, samples and tokens per second, and MFU."""
    rates = msgspec.structs.replace(
        DIAGNOSIS.throughput,
        tokens_per_s=msgspec.structs.replace(DIAGNOSIS.throughput.tokens_per_s, value=12_345.0),
        mfu=msgspec.structs.replace(DIAGNOSIS.throughput.mfu, value=0.38),
    )
    top = shown(msgspec.structs.replace(DIAGNOSIS, throughput=rates)).splitlines()[:3]
    text = " ".join(top)
    for rate in ("188 steady steps", "106 ms/step", "302 samples/s", "12,345 tokens/s", "38 % MFU"):
        assert rate in text


def test_a_run_without_steps_has_no_table_and_no_bar() -> None:
    empty = trace()
    text = shown(diagnose_trace(empty), empty)
    assert "recommended change" not in text and "per step" not in text
    assert re.search(r"bound by +unknown", text)


def test_without_steps_the_bar_is_in_seconds() -> None:
    without = msgspec.structs.replace(
        DIAGNOSIS, steps=msgspec.structs.replace(DIAGNOSIS.steps, mean_ms=None, p95_ms=None)
    )
    text = shown(without)
    assert "input wait 12.2 s (61 %)" in text and "per step" not in text
