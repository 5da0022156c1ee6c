"""Which job a process belongs to, from what its launcher said: the same on every host that works on
it.

torchrun gives every rank TORCHELASTIC_RUN_ID (`none` without `--rdzv-id`), MASTER_ADDR and
MASTER_PORT (PyTorch's "torchrun" documentation); SLURM gives every task SLURM_JOB_ID and
SLURM_STEP_ID (sbatch and srun manual pages); Kubernetes' training operators set MASTER_ADDR and
MASTER_PORT.
"""

import hashlib

from perfscope.agent.host import proc

VARIABLES = ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT", "SLURM_JOB_ID", "SLURM_STEP_ID")
HERE = ("localhost", "127.0.0.1", "::1")


def job_identity(pid: int) -> str | None:
    """32 hexadecimal digits, None where the environment that the process was started with names no
    job.
    """
    return identity_of(proc.environment(pid, VARIABLES))


def identity_of(said: dict[str, str]) -> str | None:
    """A job is named by its rendezvous (hosts may write its address differently) and, under SLURM,
    by the step.

    An address that means this host alone names none.
    """
    run, address, port = (
        said.get(name, "") for name in ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT")
    )
    meeting = ""
    if run not in ("", "none"):
        meeting = f"{run}:{port}"
    elif address and address not in HERE:
        meeting = f"{address}:{port}"
    batch = said.get("SLURM_JOB_ID", "")
    if not meeting and not batch:
        return None
    return job_id_of_name(f"{meeting} {batch}.{said.get('SLURM_STEP_ID', '')}")


def job_id_of_name(text: str) -> str:
    """The id of a job that a person or a launcher calls so."""
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
