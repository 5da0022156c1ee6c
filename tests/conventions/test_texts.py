"""Strings that no file of the repository may contain."""

import re

import pytest

from tests.conventions.sources import ROOT, kept_files

OTHER_PROJECT = re.compile(r"pip\d? install[^\n`]*\b" + "perfscope" + r"(?![-\w/.])")
DEVELOPERS_PATH = re.compile(
    r"(?<![\w})\]*.])/" + r"(work|root|Users|home/\w+)/[\w.]"
)  # /proc/PID/root/usr is allowed
TEXT = {".py", ".md", ".toml", ".txt", ".html", ".css", ".js", ".json", ".s", ""}
EXAMPLES = re.compile(r"/home/(user|you|someone|me|zebra|z)/")


def texts() -> dict[str, str]:
    kept = [path for path in kept_files() if path.suffix in TEXT and path.name != "LICENSE"]
    return {str(path.relative_to(ROOT)): path.read_text("utf-8", "replace") for path in kept}


@pytest.mark.parametrize(
    ("forbidden", "why"),
    [
        (OTHER_PROJECT, "that name belongs to another project: perfscope-ml"),
        (DEVELOPERS_PATH, "a path of one machine"),
    ],
    ids=["the other project's name", "a path of one machine"],
)
def test_no_file_contains_a_forbidden_string(forbidden: re.Pattern[str], why: str) -> None:
    found_in = {
        name: found[0]
        for name, text in texts().items()
        if (found := forbidden.search(EXAMPLES.sub("", text)))
    }
    assert found_in == {}, why


def test_the_patterns_match_what_they_forbid() -> None:
    other = "perf" + "scope"
    assert OTHER_PROJECT.search(f"pip install {other}") and OTHER_PROJECT.search(
        f"python -m pip install -U {other}[torch]"
    )
    assert not OTHER_PROJECT.search(f"pip install {other}-ml") and not OTHER_PROJECT.search(
        "pip install -e ."
    )
    assert DEVELOPERS_PATH.search("/" + "root/x") and not DEVELOPERS_PATH.search("/proc/1/root/lib")


def test_the_main_files_are_checked() -> None:
    assert {"README.md", "CONTRIBUTING.md", "pyproject.toml", "perfscope/cli.py"} <= set(texts())
