"""Complete and current documentation, with links that work."""

import re
import shlex
from pathlib import Path

import pytest

from docs.generate import FOLDER, PAGES
from perfscope.analyzer.findings import FINDINGS
from perfscope.analyzer.input.causes import CAUSES
from perfscope.cli import name_of, parser
from perfscope.commands import COMMANDS
from tests.conventions.sources import ROOT

WRITTEN = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(FOLDER.rglob("*.md"))]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s#]+)(?:#[^)]*)?\)")
FENCED = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CALL = re.compile(r"^\s*(?:\$ )?(perfscope .+)$", re.MULTILINE)
QUOTED_CALL = re.compile(r"(?<!`)`(perfscope [^`]+)`")
SAFETY_PAGE = FOLDER / "safety.md"
PAGES_WITH_PATHS = [
    SAFETY_PAGE,
    FOLDER / "architecture.md",
    FOLDER / "roofline.md",
    FOLDER / "verdict.md",
    ROOT / "SECURITY.md",
    ROOT / "CONTRIBUTING.md",
]
PATH = re.compile(r"`((?:tests|perfscope)/[^`\s]+)`")
DECISIONS = sorted((FOLDER / "decisions").glob("*.md"))


def path_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("name", PAGES)
def test_generated_pages_are_up_to_date(name: str) -> None:
    assert (FOLDER / name).read_text("utf-8") == PAGES[name](), "run `make docs`"


def test_every_finding_cause_and_command_is_documented() -> None:
    findings, commands = (FOLDER / "findings.md").read_text(), (FOLDER / "commands.md").read_text()
    assert [rule.id for rule in FINDINGS if f"\n## {rule.id}\n" not in findings] == []
    headings = [f"\n## input-bound/{cause.CAUSE}\n" for cause in CAUSES]
    assert [heading for heading in headings if heading not in findings] == []
    assert [
        name_of(command) for command in COMMANDS if f"`{name_of(command)}`" not in commands
    ] == []


@pytest.mark.parametrize("page", WRITTEN, ids=path_of)
def test_links_point_to_files(page: Path) -> None:
    targets = [
        link
        for link in LINK.findall(page.read_text("utf-8"))
        if not link.startswith(("http:", "https:"))
    ]
    assert [link for link in targets if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", WRITTEN, ids=path_of)
def test_every_command_line_in_a_page_parses(page: Path) -> None:
    """The command of each `perfscope ...` exists and has these options. Capitals are values."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    calls = [call for block in FENCED.findall(text) for call in CALL.findall(block)]
    for call in (*calls, *QUOTED_CALL.findall(FENCED.sub("", text))):
        words = [
            re.sub(r"^(PID|[A-Z])$", "1", word) for word in shlex.split(call, comments=True)[1:]
        ]
        if words[0] not in ("COMMAND", "--version"):
            assert parser().parse_args(words).command == words[0]


def promises() -> list[str]:
    """Return the rows of the tables below "Promises" in docs/safety.md."""
    text = SAFETY_PAGE.read_text("utf-8").partition("\n## Promises\n")[2].partition("\n## ")[0]
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    return [row for row in rows if row != "| promise | test |"]


def test_every_promise_names_a_test() -> None:
    assert len(promises()) > 30
    assert [
        row
        for row in promises()
        if not any(path.startswith("tests/") for path in PATH.findall(row))
    ] == []


@pytest.mark.parametrize("page", PAGES_WITH_PATHS, ids=path_of)
def test_paths_in_a_page_exist(page: Path) -> None:
    paths = PATH.findall(page.read_text("utf-8"))
    kept = [path for path in paths if not re.search(r"NAME|SUBJECT|LIBRARY", path)]
    assert [path for path in kept if not list(ROOT.glob(path.rstrip("/")))] == []


def test_every_safety_test_checks_a_promise() -> None:
    named = set(PATH.findall("\n".join(promises())))
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "tests" / "safety").glob("test_*.py")}
    assert files - named == set()


def test_the_index_links_to_every_page() -> None:
    linked = set(LINK.findall((FOLDER / "index.md").read_text()))
    pages = {path.name for path in FOLDER.iterdir() if path.suffix in (".md", ".json")} - {
        "index.md"
    }
    assert pages - linked == set()


def test_decisions_are_numbered_without_gaps_and_record_a_choice() -> None:
    assert [path.name[:4] for path in DECISIONS] == [
        f"{number:04}" for number in range(1, len(DECISIONS) + 1)
    ]
    for path in DECISIONS:
        text = path.read_text()
        assert (
            text.startswith(f"# {path.name[:4]}: ")
            and "**Context.**" in text
            and "**Choice.**" in text
        ), path.name
