"""Requests to a dashboard without a browser, as a browser sends them."""

from pathlib import Path
from typing import Any

import msgspec

from perfscope.ui.dashboard.app import create_app
from perfscope.ui.dashboard.auth import Access
from perfscope.ui.dashboard.dashboard_data import DashboardSource
from perfscope.ui.dashboard.open_runs import Library
from perfscope.ui.dashboard.serve import Dashboard
from perfscope.ui.dashboard.verdicts import Verdicts

PORT = 8050
AT_ADDRESS = {"base_url": f"http://127.0.0.1:{PORT}"}
ORIGIN = {"Origin": f"http://127.0.0.1:{PORT}"}


def address(board: Dashboard, path: str) -> str:
    """Return an address of a running dashboard, without its token."""
    return f"http://127.0.0.1:{board.access.port}{path}"


class DashboardClient:
    """The dashboard of a folder, and its answers to requests."""

    def __init__(self, root: Path, access: Access | None = None, *, signed_in: bool = True) -> None:
        self.library, self.verdicts = Library(root), Verdicts()
        self.access = access or Access(PORT)
        self.app = create_app(DashboardSource(self.library, self.verdicts, self.access))
        self.client = self.app.server.test_client()
        if signed_in:
            assert self.client.get(f"/?token={self.access.token}", **AT_ADDRESS).status_code == 302

    def page(self, path: str, search: str = "") -> dict[str, Any]:
        """Return `links`, `page`, `title` and `failure` of an address."""
        outputs = [
            ("links", "children"),
            ("page", "children"),
            ("title", "data"),
            ("failure", "children"),
        ]
        body = {
            "output": ".." + "...".join(f"{name}.{prop}" for name, prop in outputs) + "..",
            "outputs": [{"id": name, "property": prop} for name, prop in outputs],
            "inputs": [
                {"id": "url", "property": "pathname", "value": path},
                {"id": "url", "property": "search", "value": search},
            ],
            "changedPropIds": ["url.pathname"],
        }
        answer = self.client.post(
            "/_dash-update-component", json=body, headers=ORIGIN, **AT_ADDRESS
        )
        assert answer.status_code == 200, answer.data
        response: dict[str, Any] = msgspec.json.decode(answer.data)["response"]
        return {name: next(iter(value.values())) for name, value in response.items()}

    def text(self, path: str, search: str = "") -> str:
        return " ".join(texts(self.page(path, search)["page"]))


def texts(part: Any) -> list[str]:
    """Return the texts in a tree of components."""
    if isinstance(part, str):
        return [part]
    if isinstance(part, list):
        return [text for child in part for text in texts(child)]
    if isinstance(part, dict) and "props" in part:
        return texts(part["props"].get("children"))
    return []


def every(part: Any, kind: str) -> list[dict[str, Any]]:
    """Return the properties of all components of a kind."""
    if isinstance(part, list):
        return [properties for child in part for properties in every(child, kind)]
    if not isinstance(part, dict) or "props" not in part:
        return []
    found = [part["props"]] if part["type"] == kind else []
    return found + every(part["props"].get("children"), kind)
