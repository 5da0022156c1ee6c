"""The id of the job that a process belongs to; it is the same on all hosts of the job.

torchrun gives every rank TORCHELASTIC_RUN_ID (`none` without `--rdzv-id`), MASTER_ADDR and
MASTER_PORT (PyTorch's "torchrun" documentation); SLURM gives every task SLURM_JOB_ID and
SLURM_STEP_ID (sbatch and srun manual pages); Kubernetes' training operators set MASTER_ADDR and
MASTER_PORT.
"""

import hashlib

from perfscope.agent.host import proc

VARIABLES = ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT", "SLURM_JOB_ID", "SLURM_STEP_ID")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def job_identity(pid: int) -> str | None:
    """Return the job id from the environment that a process was started with, None without one.

    It has 32 hexadecimal digits.
    """
    return job_id_from_variables(proc.environment(pid, VARIABLES))


def job_id_from_variables(variables: dict[str, str]) -> str | None:
    """Return the job id from a launcher's variables, None where they name no job.

    A job is identified by its rendezvous and, under SLURM, by its step. The run id is preferred to
    the address, which hosts may spell differently. A loopback address identifies no job.
    """
    run_id = variables.get("TORCHELASTIC_RUN_ID", "")
    address = variables.get("MASTER_ADDR", "")
    port = variables.get("MASTER_PORT", "")
    slurm_job = variables.get("SLURM_JOB_ID", "")
    slurm_step = variables.get("SLURM_STEP_ID", "")
    rendezvous = ""
    if run_id not in ("", "none"):
        rendezvous = f"{run_id}:{port}"
    elif address and address not in LOOPBACK:
        rendezvous = f"{address}:{port}"
    if not rendezvous and not slurm_job:
        return None
    return job_id_of_name(f"{rendezvous} {slurm_job}.{slurm_step}")


def job_id_of_name(name: str) -> str:
    """Return the id of the job with this name, in 32 hexadecimal digits."""
    return hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
