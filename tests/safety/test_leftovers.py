"""Folders of killed processes in /tmp: they are removed, and nothing else is, regardless of their
content.
"""

import os
import subprocess
import sys
from pathlib import Path

from perfscope.agent.temporary_folders import folder_name, remove_dead, temporary_folder
from tests.safety.other_user import NOBODY, needs_root

PREFIX = "perfscope-made-"
LEAVES_ONE = f"""
import os, sys
from pathlib import Path
from perfscope.agent.temporary_folders import temporary_folder
with temporary_folder(Path(sys.argv[1]), {PREFIX!r}) as folder:
    folder.joinpath("probe.txt").write_text("token")
    folder.joinpath("__pycache__").mkdir()
    folder.joinpath("__pycache__", "hook.pyc").write_bytes(b"x")
    print(folder.name, flush=True)
    os.kill(os.getpid(), 9)
"""


def left_by_a_killed_process(place: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LEAVES_ONE, str(place)], capture_output=True, text=True
    )
    assert done.returncode == -9, done.stderr
    assert (place / done.stdout.strip()).is_dir()
    return done.stdout.strip()


def test_the_folder_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    names = sorted(left_by_a_killed_process(tmp_path) for _ in range(2))
    assert sorted(remove_dead(tmp_path, PREFIX)) == names
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_running_process_is_kept(tmp_path: Path) -> None:
    with temporary_folder(tmp_path, PREFIX) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert remove_dead(tmp_path, PREFIX) == []
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_pid_that_was_given_to_another_process_does_not_protect_a_folder(tmp_path: Path) -> None:
    pid, start, rest = folder_name("").split("-", 2)
    (tmp_path / f"{PREFIX}{pid}-{int(start) - 1}-{rest}").mkdir()
    assert len(remove_dead(tmp_path, PREFIX)) == 1


def test_folders_of_other_names_boots_and_pid_namespaces_are_kept(tmp_path: Path) -> None:
    name = left_by_a_killed_process(tmp_path)
    pid, start, boot, namespace, digits = name.removeprefix(PREFIX).split("-")
    kept = [
        f"{PREFIX}{pid}-{start}-{'0' * 8}-{namespace}-{digits}",
        f"{PREFIX}{pid}-{start}-{boot}-1-{digits}",
        f"{PREFIX}{pid}-{start}-{boot}-{namespace}-{digits}.old",
        f"my-{name}",
        f"{PREFIX}thesis",
        PREFIX,
    ]
    for kept_name in kept:
        (tmp_path / kept_name).mkdir()
    assert remove_dead(tmp_path, PREFIX) == [name]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    place, home = tmp_path / "tmp", tmp_path / "home"
    place.mkdir()
    home.mkdir()
    home.joinpath("thesis").write_text("years")
    name = left_by_a_killed_process(place)
    (place / name).rename(tmp_path / "away")
    (place / name).symlink_to(home)
    assert remove_dead(place, PREFIX) == []
    assert home.joinpath("thesis").exists() and (place / name).is_symlink()


def test_links_in_the_folder_are_removed_and_not_followed(tmp_path: Path) -> None:
    place, home = tmp_path / "tmp", tmp_path / "home"
    place.mkdir()
    home.mkdir()
    home.joinpath("thesis").write_text("years")
    name = left_by_a_killed_process(place)
    (place / name / "inner").symlink_to(home)
    (place / name / "file").symlink_to(home / "thesis")
    os.link(home / "thesis", place / name / "hard")
    assert remove_dead(place, PREFIX) == [name]
    assert home.joinpath("thesis").read_text() == "years"


def test_a_link_in_place_of_the_parent_folder_is_not_followed(tmp_path: Path) -> None:
    place, link = tmp_path / "tmp", tmp_path / "link"
    place.mkdir()
    link.symlink_to(place)
    name = left_by_a_killed_process(place)
    assert remove_dead(link, PREFIX) == []
    assert remove_dead(tmp_path / "absent", PREFIX) == []
    assert (place / name).is_dir()


def test_a_very_deep_folder_is_kept_without_an_error(tmp_path: Path) -> None:
    name = left_by_a_killed_process(tmp_path)
    (tmp_path / name).joinpath(*["deep"] * 20).mkdir(parents=True)
    assert remove_dead(tmp_path, PREFIX) == []


@needs_root
def test_root_keeps_a_folder_of_this_name_of_another_user(tmp_path: Path) -> None:
    name = left_by_a_killed_process(tmp_path)
    os.chown(tmp_path / name, NOBODY, NOBODY)
    assert remove_dead(tmp_path, PREFIX) == []
    assert (tmp_path / name / "probe.txt").exists()


@needs_root
def test_root_keeps_a_folder_of_another_user_inside_that_of_a_killed_process(
    tmp_path: Path,
) -> None:
    name = left_by_a_killed_process(tmp_path)
    foreign = tmp_path / name / "foreign"
    foreign.mkdir()
    foreign.joinpath("file").write_text("")
    os.chown(foreign, NOBODY, NOBODY)
    remove_dead(tmp_path, PREFIX)
    assert foreign.joinpath("file").exists()
