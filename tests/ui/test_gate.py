"""Who may ask the dashboard."""

from pathlib import Path

import pytest

from perfscope.ui.dashboard.gate import Gate
from tests.ui.asking import HERE, PORT, Asked


@pytest.fixture
def here(tmp_path: Path) -> Asked:
    return Asked(tmp_path)


@pytest.fixture
def beyond(tmp_path: Path) -> Asked:
    return Asked(tmp_path, Gate(PORT, "0.0.0.0"))


@pytest.mark.parametrize("host", ["evil.example:8050", "127.0.0.1:80", "127.0.0.1.evil.example:8050", "localhost", ""])
def test_a_name_that_is_not_ours_is_refused(here: Asked, host: str) -> None:
    answer = here.client.get("/", headers={"Host": host})
    assert answer.status_code in (400, 403)


@pytest.mark.parametrize("host", ["127.0.0.1:8050", "LOCALHOST:8050", "[::1]:8050"])
def test_our_names_are_answered(here: Asked, host: str) -> None:
    assert here.client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:9", "null", "https://localhost:8050"])
def test_a_page_of_another_site_cannot_ask(here: Asked, origin: str) -> None:
    answer = here.client.post("/_dash-update-component", json={}, headers={"Origin": origin}, **HERE)
    assert answer.status_code == 403


def test_what_a_page_may_load_is_said(here: Asked) -> None:
    policy = here.client.get("/", **HERE).headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]


def test_beyond_this_machine_nothing_is_told_without_the_token(beyond: Asked) -> None:
    for path in ("/", "/_dash-layout", "/_dash-dependencies", "/run/x.html"):
        answer = beyond.client.get(path, **HERE)
        assert answer.status_code == 401 and "token" in answer.text
    assert beyond.client.post("/_dash-update-component", json={}, **HERE).status_code == 401
    assert beyond.client.get("/?token=wrong", **HERE).status_code == 401
    assert beyond.client.post("/own/token", data={"token": "é" * 300}, **HERE).status_code == 401


def test_the_token_opens_and_leaves_the_address(beyond: Asked) -> None:
    answer = beyond.client.get(f"/run/x?token={beyond.gate.token}", **HERE)
    assert answer.status_code == 302 and answer.headers["Location"] == "/run/x"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert beyond.client.get("/", **HERE).status_code == 200


def test_the_way_on_cannot_lead_to_another_site(beyond: Asked) -> None:
    answer = beyond.client.get(f"//evil.example/?token={beyond.gate.token}", **HERE)
    assert not answer.headers["Location"].startswith(("//", "http://evil"))
