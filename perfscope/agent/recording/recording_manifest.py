"""The manifest that a recording begins with."""

import os
import socket
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from perfscope import __version__
from perfscope.agent.host.cgroup import memory_limit_bytes
from perfscope.agent.host.proc import command_line, environment
from perfscope.agent.host.usable_cores import shm_bytes, usable_cores
from perfscope.agent.job.job_identity import job_id_of_name, job_identity
from perfscope.agent.job.roles import PLACE_VARIABLES, place_from_environment
from perfscope.agent.recording.recording_plan import Plan
from perfscope.traces.privacy.secret_masking import mask_secrets
from perfscope.traces.run_folder.manifest import Manifest


def create_manifest(plan: Plan, top_pids: Sequence[int]) -> Manifest:
    """Return the manifest of a recording that begins now; `top_pids` are the roots of the job."""
    pid = plan.pid
    return Manifest(
        job_id=create_job_id(plan),
        host=socket.gethostname(),
        boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        zero_monotonic_ns=time.monotonic_ns(),
        zero_realtime_ns=time.time_ns(),
        tool_version=__version__,
        command=mask_secrets(list(plan.command) or command_line(pid)),
        target_pid=pid,
        depth="observe",
        usable_cores=usable_cores(pid, *top_pids),
        memory_limit_bytes=memory_limit_bytes(pid),
        shm_bytes=shm_bytes(pid),
        world_size=world_size(pid),
    )


def world_size(pid: int) -> int | None:
    """Return the number of ranks that the launcher of a process set, None if it set none."""
    size = place_from_environment(environment(pid, PLACE_VARIABLES), "WORLD_SIZE")
    return size if size > 0 else None


def create_job_id(plan: Plan) -> str:
    """Return the id of the job: from the name the user gave, else from its launcher, else random.

    A command that perfscope started may have ended already; perfscope itself then has the same
    launcher.
    """
    if plan.job:
        return job_id_of_name(plan.job)
    from_target = job_identity(plan.pid)
    from_launcher = job_identity(os.getpid()) if plan.command else None
    return from_target or from_launcher or uuid.uuid4().hex
