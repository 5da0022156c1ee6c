"""From a run folder to an answer: JSON, terminal view, HTML report."""

import sys
from pathlib import Path

from perfscope.errors import PerfscopeError


def answer(folder: Path, *, json: bool, html: Path | None) -> int:
    """Diagnose the run and show it; the report is written first, so that its name can be told. Returns the exit code."""
    from perfscope.analyzer.engine import diagnose
    from perfscope.traces.load import load
    from perfscope.ui.terminal import show

    trace = load(folder)
    diagnosis = diagnose(trace)
    if json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(diagnosis), indent=2).decode())
    else:
        show(diagnosis, trace, sys.stdout)
    if html is not None:
        save(html, folder)
        print(f"wrote {html}", file=sys.stderr)
    return 0


def write_html(folder: Path, path: Path) -> None:
    """The HTML report of a run folder. Raises UnreadableRun, PerfscopeError when the file cannot be written."""
    save(path, folder)


def save(path: Path, folder: Path) -> None:
    from perfscope.analyzer.engine import diagnose
    from perfscope.traces.load import load
    from perfscope.ui.report import write_report

    trace = load(folder)
    try:
        write_report(trace, diagnose(trace), path)
    except OSError as error:
        raise PerfscopeError(f"cannot write {path}: {error.strerror}; name another file") from None
