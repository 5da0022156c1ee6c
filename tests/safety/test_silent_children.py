"""Helpers of a user that do not respond: processes of other users are recorded meanwhile."""

import os
import subprocess
from pathlib import Path

import pytest

from perfscope.agent.host import proc
from perfscope.agent.target_user.child import call_as
from perfscope.agent.target_user.rights import TargetUser, user_of
from tests.agent.entry.target import SLEEP
from tests.safety.other_user import NOBODY, PYTHON_FOR_ALL, needs_root
from tests.safety.test_root_rights import folder, hold_on, nobody, who_am_i
from tests.target_processes import until

__all__ = ["folder", "nobody"]
pytestmark = needs_root
OTHER = 65533


def test_a_user_does_not_wait_for_the_helpers_of_another(nobody: TargetUser, folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    os.chown(folder / "fifo", NOBODY, NOBODY)
    other = subprocess.Popen(
        [PYTHON_FOR_ALL or "", "-c", SLEEP], user=OTHER, group=OTHER, extra_groups=[], cwd="/"
    )
    try:
        until(lambda: proc.read_status(other.pid)["Uid"].split()[1] == str(OTHER))
        user = user_of(other.pid)
        with pytest.raises(TimeoutError):
            call_as(nobody, hold_on, str(folder / "fifo"), limit_s=0.3)
        assert call_as(user, who_am_i).value[0]["Uid"] == [str(OTHER)] * 4
        user.close()
    finally:
        other.kill()
        other.communicate()
