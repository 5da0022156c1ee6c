"""The name of a job, from what its launcher sets for the ranks: the same on every host."""

import os
import subprocess
import sys

from perfscope.agent.job.job_identity import job_id_from_variables, job_id_of_name, job_identity

TORCHRUN = {"TORCHELASTIC_RUN_ID": "job1", "MASTER_ADDR": "node0", "MASTER_PORT": "29500"}


def test_torchruns_rendezvous_names_it_however_a_host_writes_the_address() -> None:
    assert job_id_from_variables(TORCHRUN) == job_id_from_variables(
        TORCHRUN | {"MASTER_ADDR": "10.0.0.1"}
    )
    assert job_id_from_variables(TORCHRUN) != job_id_from_variables(
        TORCHRUN | {"TORCHELASTIC_RUN_ID": "job2"}
    )


def test_without_a_name_the_meeting_place_does() -> None:
    plain = {"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "node0", "MASTER_PORT": "29500"}
    assert job_id_from_variables(plain) == job_id_from_variables(
        {"MASTER_ADDR": "node0", "MASTER_PORT": "29500"}
    )
    assert job_id_from_variables(plain) != job_id_from_variables(plain | {"MASTER_PORT": "29501"})


def test_steps_of_a_batch_job_are_jobs_of_their_own() -> None:
    batch = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}
    assert job_id_from_variables(batch) != job_id_from_variables(batch | {"SLURM_STEP_ID": "1"})


def test_an_address_of_this_host_alone_names_no_job() -> None:
    assert job_id_from_variables({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}) is None
    assert job_id_from_variables({}) is None


def test_it_is_read_from_the_environment_a_process_was_started_with() -> None:
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(
        command, env=os.environ | TORCHRUN, stdin=-1, stdout=-1, text=True
    ) as target:
        assert target.stdout is not None and target.stdout.readline()
        assert job_identity(target.pid) == job_id_from_variables(TORCHRUN) != job_id_of_name("job1")
        target.communicate("\n")
