"""Every page and the report of unusual runs: an export of Nsight Systems, several ranks, no
events.
"""

from pathlib import Path

import pytest

from perfscope.traces.load import load_trace
from perfscope.traces.run_folder.folder import RunWriter
from perfscope.traces.run_folder.manifest import Manifest
from perfscope.ui.dashboard.pages import PAGES
from perfscope.ui.html.communication import WAITING_INCLUDED, WAITING_SEPARATED, overlap_note
from tests.build import FACTS
from tests.traces.generated_ranks import generated_ranks
from tests.traces.kineto.events import event, write_events
from tests.traces.nsys.exports import export, pid_of, tid_of
from tests.ui.dashboard_client import AT_ADDRESS, DashboardClient

LEAST_WORDS = 40


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> DashboardClient:
    folder = tmp_path_factory.mktemp("odd")
    main, device = (
        {"globalTid": tid_of(70, 70)},
        {"globalPid": pid_of(70), "deviceId": 0, "streamId": 7},
    )
    export(
        folder / "nsight.sqlite",
        CUPTI_ACTIVITY_KIND_RUNTIME=[
            {"start": 100, "end": 200, "nameId": "cudaLaunchKernel", "correlationId": 1, **main}
        ],
        CUPTI_ACTIVITY_KIND_KERNEL=[
            {"start": 300, "end": 900, "demangledName": "mm", "correlationId": 1, **device}
        ],
        NVTX_EVENTS=[
            {"start": 50, "end": 950, "text": "<b>step</b>", "eventType": 59, "domainId": 0, **main}
        ],
    )
    generated_ranks(folder / "job", ranks=3)
    run = RunWriter.create(folder / "nothing.perfscope", Manifest(**FACTS))
    run.jsonl("clock", -1)
    run.arrow("probe.records", 0, ("kind", "tid", "ts", "dur"))
    run.flush()
    run.close()
    write_events(folder / "no-events.json", [])
    write_events(folder / "no-durations.json", [event(dur=0)])
    return DashboardClient(folder)


def id_of(asked: DashboardClient, name: str) -> str:
    (id,) = [entry.id for entry in asked.library.runs() if entry.name.startswith(name)]
    return id


@pytest.mark.parametrize("name", ["nsight.sqlite", "job/ (3 ranks)", "nothing.perfscope"])
def test_every_page_and_the_report_of_an_unusual_run_have_content(
    asked: DashboardClient, name: str
) -> None:
    run = id_of(asked, name)
    for page in PAGES:
        assert not asked.page(f"/run/{run}/{page.path}").get("failure")
        assert len(asked.text(f"/run/{run}/{page.path}")) > LEAST_WORDS or page.path == "timeline"
    report = asked.client.get(f"/run/{run}.html", **AT_ADDRESS)
    assert report.status_code == 200 and b"<h1>" in report.data
    meta = asked.client.get(f"/timeline/{run}/meta", **AT_ADDRESS).get_json()
    assert bool(meta["tracks"]) == (name != "nothing.perfscope")


def test_a_job_has_its_ranks_and_their_waits_for_each_other(asked: DashboardClient) -> None:
    run = id_of(asked, "job/ (3 ranks)")
    words = asked.text(f"/run/{run}/overview")
    assert all(f"rank {rank}" in words for rank in range(3)) and "waiting for peers" in words
    groups = asked.client.get(f"/timeline/{run}/meta", **AT_ADDRESS).get_json()["groups"]
    assert [group[1] for group in groups] == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "lacking"), [("no-durations.json", "duration"), ("no-events.json", "events")]
)
def test_the_page_of_an_unreadable_trace_names_what_it_lacks(
    asked: DashboardClient, name: str, lacking: str
) -> None:
    text = asked.text(f"/run/{id_of(asked, name)}/overview")
    assert name in text and lacking in text


def test_the_note_on_collectives_depends_on_whether_waiting_for_peers_is_known(
    tmp_path: Path,
) -> None:
    made = generated_ranks(tmp_path / "job", ranks=2)
    assert overlap_note(load_trace(made.paths[0]), 0).endswith(WAITING_INCLUDED)
    assert overlap_note(load_trace(tmp_path / "job"), 0).endswith(WAITING_SEPARATED)
