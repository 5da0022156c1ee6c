"""Traces and diagnoses of pages, read by the parser that reads those of a running engine."""

from collections.abc import Mapping, Sequence

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.traces.engine_metrics.page import read_page
from perfscope.traces.trace import Trace
from tests.build import Rows, trace
from tests.serving.engine_pages import Page

NS = 1_000_000_000
SETTINGS = {
    "max-running": "--max-num-seqs",
    "max-batched-tokens": "--max-num-batched-tokens",
    "graph-batch": "--cuda-graph-max-bs",
    "no-graphs": "--disable-cuda-graph",
}


def served_trace(
    *pages: Page,
    seconds: int = 30,
    settings: Mapping[str, str] | None = None,
    manifest: Mapping[str, object] | None = None,
    process: int = -1,
    **tables: Rows,
) -> Trace:
    """Return the trace of some servers that were read once per second.

    `process` is that of the first one's engine, -1 where only its page was read.
    """
    servers: Rows = []
    metrics: Rows = []
    for server, page in enumerate(pages):
        for second in range(seconds):
            found = read_page(page(float(second)).encode())
            if second == 0:
                url = f"http://host-{server}:8000/metrics"
                of_engine = process if server == 0 else -1
                servers.append(
                    {
                        "server": server,
                        "process": of_engine,
                        "engine": found.engine,
                        "url": url,
                        "other_names": " ".join(found.other_names) or None,
                    }
                )
            metrics += [
                {
                    "server": server,
                    "ts": second * NS,
                    "name": series.name,
                    "part": series.part,
                    "labels": series.labels,
                    "le": series.le,
                    "value": value,
                }
                for series, value in found.samples.items()
            ]
    given: Rows = [
        {"server": 0, "name": name, "flag": SETTINGS[name], "value": value}
        for name, value in (settings or {}).items()
    ]
    hosted = {
        "engine_servers": servers,
        "engine_metrics": metrics,
        **({"engine_settings": given} if given else {}),
    }
    rows = {name: [{"host": "host", **row} for row in its] for name, its in hosted.items()}
    built: Trace = trace(
        manifest={"torch": None, "depth": "observe", **(manifest or {})}, **rows, **tables
    )
    return built


def diagnose_pages(*pages: Page, **options: object) -> Diagnosis:
    """Return the diagnosis of some servers."""
    return diagnose_trace(served_trace(*pages, **options))


def names_of_findings(diagnosis: Diagnosis) -> list[str]:
    """Return the findings as `id` or `id/cause`, those that are only possible with a `?`."""
    return [
        f"{found.id}{'' if found.cause is None else '/' + found.cause}"
        f"{'?' if found.severity == 'info' else ''}"
        for found in diagnosis.findings
    ]


def actions_of(diagnosis: Diagnosis) -> Sequence[str]:
    """Return the ids of the actions of the first finding."""
    return [action.id for action in diagnosis.findings[0].actions] if diagnosis.findings else []
