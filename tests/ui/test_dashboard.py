"""The pages of the dashboard, requested as by a browser."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfscope.errors import UsageError
from perfscope.traces.folder_contents import contents
from perfscope.ui.dashboard.pages import PAGES
from perfscope.ui.dashboard.serve import Dashboard
from tests.ui.dashboard_client import DashboardClient, every
from tests.ui.kineto_files import small_trace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small_trace(tmp_path / "one <b>.json")
    (tmp_path / "deep").mkdir()
    small_trace(tmp_path / "deep" / "two.json.gz")
    (tmp_path / "settings.json").write_text('{"editor": 1}')
    return tmp_path


@pytest.fixture
def asked(folder: Path) -> Iterator[DashboardClient]:
    board = DashboardClient(folder)
    yield board
    board.verdicts.close()


def test_the_list_has_every_run_also_new_ones(asked: DashboardClient, folder: Path) -> None:
    assert listed_names(asked) == {"one <b>.json", "deep/two.json.gz"}
    small_trace(folder / "three.json")
    asked.library.forget()
    assert "three.json" in listed_names(asked)


def listed_names(asked: DashboardClient) -> set[str]:
    """Return the names in the list of runs."""
    (grid,) = every(asked.page("/")["page"], "AgGrid")
    return {row["name"] for row in grid["rowData"]}


def test_every_link_of_a_page_leads_to_another(asked: DashboardClient) -> None:
    run = next(entry for entry in asked.library.runs() if entry.name.startswith("one"))
    links = every(asked.page(f"/run/{run.id}")["links"], "Link")
    assert len(links) >= 2
    for link in links:
        assert "no such page" not in asked.text(link["href"])


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/run/nope/overview", "'nope'"),
        ("/run/..%2f..%2fetc/overview", "etc"),
        ("/run/../../etc/passwd", "/run/../../etc/passwd"),
        ("/elsewhere", "/elsewhere"),
        ("/run/deep-two.json.gz-x/overview", "'deep-two.json.gz-x'"),
    ],
)
def test_the_page_of_an_unknown_address_names_it(
    asked: DashboardClient, path: str, named: str
) -> None:
    assert named in asked.text(path)


def test_a_page_without_data_and_an_unknown_page_list_the_pages(asked: DashboardClient) -> None:
    run = asked.library.runs()[0]
    assert asked.page(f"/run/{run.id}/by-code")["title"].startswith("By code: ")
    assert "By code" in asked.text(f"/run/{run.id}/by-code")
    assert all(page.title in asked.text(f"/run/{run.id}/nonsense") for page in PAGES)


def test_symbolic_links_out_of_the_folder_are_not_followed(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    small_trace(outside / "secret.json")
    os.symlink(outside, folder / "folder-link")
    os.symlink(outside / "secret.json", folder / "file-link.json")
    assert {entry.name for entry in contents(folder)} == {"one <b>.json", "deep/two.json.gz"}


def test_the_page_of_an_empty_folder_has_the_command_that_records(tmp_path: Path) -> None:
    assert "perfscope attach PID" in DashboardClient(tmp_path).text("/")


def test_the_first_page_of_a_single_trace_is_that_trace(folder: Path) -> None:
    shown = DashboardClient(folder / "deep" / "two.json.gz").page("/")
    assert "two.json.gz" in shown["title"]
    assert not [link for link in every(shown["links"], "Link") if link["href"] == "/"]


def test_a_port_in_use_or_out_of_range_is_refused(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = Dashboard(folder, port=0)
    try:
        with pytest.raises(UsageError, match="--port"):
            Dashboard(folder, port=first.access.port)
        with pytest.raises(UsageError, match="70000"):
            Dashboard(folder, port=70_000)
    finally:
        first.close()
    assert capfd.readouterr().err == ""
