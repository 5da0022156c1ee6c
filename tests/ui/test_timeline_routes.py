"""The routes of the timeline: their answers, and the requests that they refuse."""

import warnings
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from perfscope.analyzer.timeline.lanes import timeline_lanes
from perfscope.analyzer.timeline.tiles import MOST_PIXELS
from perfscope.traces.trace import Trace
from perfscope.ui.timeline.route_answers import ALWAYS, MOST_LANES
from perfscope.ui.timeline.routes import add_timeline_routes
from tests.analyzer.timeline.test_lanes import gpu_run, lane_of
from tests.analyzer.timeline.unpack import unpack_tile
from tests.build import trace

WINDOW = "from=0&to=600"
LANES = gpu_run().fact(timeline_lanes)
STREAM, CALLS = lane_of(LANES, "stream 7"), lane_of(LANES, "runtime calls")
MAIN = lane_of(LANES, "main thread")


@pytest.fixture
def client() -> FlaskClient:
    runs: dict[str, Trace] = {"a/gpu": gpu_run(), "empty": trace()}
    app = Flask("test")
    add_timeline_routes(app, runs.__getitem__)
    return app.test_client()


def asked(client: FlaskClient, path: str, run: str = "a/gpu") -> Any:
    answer = client.get(f"/timeline/{run}/{path}")
    assert answer.status_code == 200, answer.text
    return answer.get_json() if answer.is_json else answer.data


def test_meta_names_every_track_and_its_lanes(client: FlaskClient) -> None:
    meta = asked(client, "meta")
    assert [tuple(track[1:5]) for track in meta["tracks"]] == [
        ("stream", "stream 7", STREAM, 1),
        ("thread", "main thread", MAIN, 3),
        ("calls", "runtime calls", CALLS, 1),
    ]
    assert meta["span"] == [90, 590] and meta["events"] == 8
    assert meta["name_count"] == len(meta["names"])
    assert asked(client, "meta", "empty")["tracks"] == []


def test_a_tile_has_the_requested_lanes(client: FlaskClient) -> None:
    found = unpack_tile(asked(client, f"tile?{WINDOW}&pixels=600&lanes=0,3-4"))
    assert set(found) == {0, 3, 4}
    assert found[STREAM]["x"].tolist() == [200, 300]
    assert found[STREAM]["w"].tolist() == [100, 200]


def test_the_longest_interval_has_the_same_lanes(client: FlaskClient) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = f"tile?from={-ALWAYS}&to={ALWAYS}&pixels={MOST_PIXELS}&lanes=0,3-4"
        assert set(unpack_tile(asked(client, path))) == {0, 3, 4}


def test_statistics_search_and_events_are_json(client: FlaskClient) -> None:
    rows = asked(client, f"select?{WINDOW}&lanes={STREAM}&by=category&most=5")["rows"]
    assert [row[0] for row in rows] == ["exposed-communication", "device-compute"]
    assert asked(client, "search?words=LAUNCH")["count"] == 2
    assert asked(client, f"hit?words=launch&at=120&lane={CALLS}&back=0") == {
        "lane": CALLS,
        "ts_ns": 140,
        "dur_ns": 10,
    }
    assert asked(client, f"hit?words=launch&at=140&lane={CALLS}&back=0") is None
    assert asked(client, f"event?lane={STREAM}&at=250")["causes"][0]["name"] == "aten::addmm"
    assert asked(client, f"event?lane={STREAM}&at=150") is None
    assert asked(client, "names?first=0&count=1") == [asked(client, "meta")["names"][0]]
    assert sum(asked(client, "strip?columns=1")["device-compute"]) == pytest.approx(0.2)


@pytest.mark.parametrize(
    "path",
    [
        "tile?from=0&to=0&pixels=9&lanes=0",
        "tile?from=0&to=9&pixels=0&lanes=0",
        "tile?from=0&to=9&pixels=8193&lanes=0",
        "tile?from=x&to=9&pixels=9&lanes=0",
        f"tile?from={'9' * 5000}&to=9&pixels=9&lanes=0",
        "tile?from=0&to=9&pixels=9&lanes=",
        "tile?from=0&to=9&pixels=9&lanes=-1",
        f"tile?from=0&to=9&pixels=9&lanes={'9' * 5000}",
        "tile?from=0&to=9&pixels=9&lanes=" + ",".join(["0-4"] * (MOST_LANES // 4)),
        f"select?{WINDOW}&lanes=0&by=<script>&most=5",
        "event?lane=5&at=0",
        "names?first=-1&count=1",
    ],
)
def test_an_invalid_request_is_refused(client: FlaskClient, path: str) -> None:
    answer = client.get(f"/timeline/a/gpu/{path}")
    assert answer.status_code == 400 and "<script>" not in answer.text


def test_an_unknown_run_is_not_found(client: FlaskClient) -> None:
    assert client.get("/timeline/other/meta").status_code == 404


def test_lanes_after_the_last_are_ignored(client: FlaskClient) -> None:
    assert set(unpack_tile(asked(client, f"tile?{WINDOW}&pixels=10&lanes=3-99"))) == {3, 4}
