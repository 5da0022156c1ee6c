"""The requests of a server on the screens: terminal, report and redacted output."""

import io
import json
from pathlib import Path

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.traces.privacy.redacted_trace import redacted_trace
from perfscope.ui.html.report import page
from perfscope.ui.json_text import json_text
from perfscope.ui.terminal.diagnosis_view import show
from tests.serving.engine_pages import Traffic, labeled, vllm_page
from tests.serving.served_trace import served_trace

QUEUED = Traffic(running=1, waiting=7, kv=0.01, per_second=2, queue_s=0.1, e2e_s=0.2)
SECRET = "planted-customer"


def test_the_terminal_shows_intervals_within_its_width() -> None:
    trace = served_trace(*[vllm_page(QUEUED)] * 6)
    text = io.StringIO()
    show(diagnose_trace(trace), trace, text)
    assert "under 300 ms" in text.getvalue()
    assert max(map(len, text.getvalue().splitlines())) <= 100


def test_the_report_has_a_row_per_server_and_escapes_labels() -> None:
    trace = served_trace(vllm_page(QUEUED), vllm_page(QUEUED))
    html = page(trace, diagnose_trace(trace))
    card = html[html.index("<h2>Requests</h2>") :].split("</section>")[0]
    assert card.count("http://host-") == 2
    assert "under 300 ms" in card


def test_redaction_leaves_no_host_and_no_model(tmp_path: Path) -> None:
    served = vllm_page(QUEUED)

    def with_model(t: float) -> str:
        info = labeled("vllm:cache_config_info", {"owner": SECRET, "block_size": "16"}, 1.0)
        return served(t).replace('model_name="m"', f'model_name="/models/{SECRET}"') + info + "\n"

    trace = served_trace(with_model)
    plain, redacted = diagnose_trace(trace), diagnose_trace(redacted_trace(trace))
    assert [each.id for each in redacted.findings] == [each.id for each in plain.findings]
    assert redacted.requests is not None and plain.requests is not None
    assert redacted.requests.ttft_ms == plain.requests.ttft_ms
    text = json_text(redacted)
    assert "host-0" not in text and SECRET not in text
    labels = redacted_trace(trace).table("engine_metrics")
    assert labels is not None
    values = [json.loads(each) for each in labels["labels"].cat.categories]
    assert not any(SECRET in str(each) for each in values)
