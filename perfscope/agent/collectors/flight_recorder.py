"""The last collectives of each rank, from the files that PyTorch's Flight Recorder has written.

It writes them itself, when its own time limit for a collective has passed. The files are read once,
at the end of the recording, in the order of the ranks. The stream is "flight.records".
"""

import time

from perfscope.agent.collector import Collector, Job, TargetProcess
from perfscope.agent.hangs.flight_recorder_dumps import (
    PREFIX_VARIABLES,
    prefixes_of,
    read_flight_dumps,
)
from perfscope.agent.host import proc
from perfscope.agent.stacks.py_spy import folder_of_process
from perfscope.agent.target_user.child import call_as
from perfscope.agent.target_user.rights import target_user
from perfscope.errors import NothingToCollect
from perfscope.traces.privacy.secret_masking import mask_text
from perfscope.traces.run_folder.manifest import SourceStatus

LIMIT_S = 2.0
NAMES = (*PREFIX_VARIABLES, "HOME", "WORLD_SIZE")
COLUMNS = ("rank", "written_s", "group", "sequence", "operation", "state", "place")


class FlightRecorder(Collector):
    """Reads the dumps that are there when the recording ends."""

    NAME = "flight-recorder"
    PERIOD_NS = 5_000_000_000

    def start(self, job: Job) -> None:
        """Raises NothingToCollect for a job of one rank."""
        self.job = job
        if not any(launched_ranks(target) > 1 for target in ranks_of(job)):
            raise NothingToCollect

    def poll(self, now_ns: int) -> int:
        return now_ns + self.PERIOD_NS

    def stop(self) -> SourceStatus:
        """Read the dumps of the first rank that still runs: all ranks of a host write them."""
        for target in ranks_of(self.job):
            try:
                count = self.write_records(target)
            except OSError as error:
                return SourceStatus(self.NAME, "unavailable", error.strerror)
            reason = None if count else "PyTorch has written no dump since the program started"
            return SourceStatus(self.NAME, "ok" if count else "off", reason)
        return SourceStatus(self.NAME, "off", "no rank runs any more")

    def write_records(self, target: TargetProcess) -> int:
        """Write the records of all dumps; return their number. Raises OSError."""
        variables = proc.environment(target.pid, NAMES)
        folder, oldest_s = folder_of_process(target.pid), proc.start_time_s(target.start_ticks)
        with target_user(target.pid) as user:
            reply = call_as(
                user.read_by_child(),
                read_flight_dumps,
                user.root,
                prefixes_of(variables),
                oldest_s,
                folder,
                limit_s=LIMIT_S,
            )
        stream = self.job.run.jsonl("flight.records", target.process)
        now_ns, now_s = time.monotonic_ns(), time.time()
        for row in reply.value or ():
            written_s = float(row[1])
            values = dict(zip(COLUMNS, row, strict=True))
            del values["written_s"]
            values["group"], values["place"] = mask_text(str(row[2])), str(row[6]) or None
            self.job.program_lines.add(target.process, str(row[6]))
            stream.append({"ts": now_ns - int((now_s - written_s) * 1e9), **values})
        return len(reply.value or ())


def ranks_of(job: Job) -> list[TargetProcess]:
    """Return the main processes of the job, by rank."""
    mains = [target for target in job.processes.values() if target.role == "main"]
    return sorted(mains, key=lambda target: (target.rank, target.process))


def launched_ranks(target: TargetProcess) -> int:
    """Return the number of ranks that a launcher has set for a process, 1 if none."""
    return proc.decimal_number(proc.environment(target.pid, NAMES).get("WORLD_SIZE", "")) or 1
