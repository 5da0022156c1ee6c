"""The text of the program's lines that occur in stacks.

The files are read once, when all stacks are there, by a child process with the rights of the
program's user and a time limit: a file may be on a mount that does not answer. What has changed
since the program started is left out, because other code may run.

They are written to the stream "source.lines": one row per line, with secrets masked.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from perfscope.agent.collector import Collector, Job, TargetProcess
from perfscope.agent.host import proc
from perfscope.agent.stacks.py_spy import folder_of_process
from perfscope.agent.target_user.child import call_as
from perfscope.agent.target_user.files import read_lines
from perfscope.agent.target_user.rights import TargetUser, user_of
from perfscope.traces.privacy.secret_masking import mask_text
from perfscope.traces.run_folder.manifest import SourceStatus

MOST_PROCESSES = 16
"""Processes whose working directory is kept. Others have the program's files as well."""
LIMIT_S = 2.0
LONGEST_TEXT = 200
START_TOLERANCE_S = 0.05
"""Start times of processes are rounded down to a hundredth of a second."""
NEVER_NAMED = ("launcher", "other")


@dataclass(frozen=True)
class ProgramFolder:
    """Where the paths of a process lead: its user with the root directory, and its folder."""

    user: TargetUser
    folder: str

    def path_of(self, file: str) -> str:
        """Return the absolute path of a file that a frame names."""
        return self.folder + file.removeprefix("./") if file.startswith("./") else file


class SourceLines(Collector):
    """Reads the lines of the program that the other collectors have seen in stacks.

    It is listed first, so that it is stopped last.
    """

    NAME = "source-lines"
    PERIOD_NS = 2_000_000_000

    def start(self, job: Job) -> None:
        self.job = job
        self.folders: dict[int, ProgramFolder] = {}
        """By process code."""
        self.began_s = time.time()
        """When the first of the processes began."""

    def poll(self, now_ns: int) -> int:
        for target in self.job.processes.values():
            is_new = target.process not in self.folders and target.is_python
            if is_new and target.role not in NEVER_NAMED and len(self.folders) < MOST_PROCESSES:
                self.keep_folder(target)
        return now_ns + self.PERIOD_NS

    def keep_folder(self, target: TargetProcess) -> None:
        """Keep where the paths of a process lead; it may end before its files are read."""
        with suppress(OSError):
            user = user_of(target.pid).read_by_child()
            self.folders[target.process] = ProgramFolder(user, folder_of_process(target.pid))
            self.began_s = min(self.began_s, proc.start_time_s(target.start_ticks))

    def stop(self) -> SourceStatus:
        """Read the lines and write them."""
        problem = None
        for process, files in self.job.program_lines.by_process.items():
            folder = self.folders.get(process) or next(iter(self.folders.values()), None)
            if folder is None:
                problem = "no process of the program could be read"
                continue
            try:
                self.write_lines(process, folder, files)
            except OSError as error:
                problem = f"the program's files could not be read: {error.strerror}"
        self.abandon()
        status = "ok" if problem is None else "unavailable"
        return SourceStatus(self.NAME, status, problem)

    def write_lines(
        self, process: int, folder: ProgramFolder, files: Mapping[str, set[int]]
    ) -> None:
        """Write the lines of one process. Raises OSError."""
        paths = {folder.path_of(file): sorted(lines) for file, lines in files.items()}
        names = {folder.path_of(file): file for file in files}
        newest_s = self.began_s + START_TOLERANCE_S
        user = folder.user
        found = call_as(user, read_lines, user.root, paths, newest_s, limit_s=LIMIT_S).value
        stream = self.job.run.jsonl("source.lines", process)
        for path, line, text in valid_rows(found):
            if path in names:
                shown = mask_text(text.strip())[:LONGEST_TEXT]
                stream.append({"file": names[path], "line": line, "text": shown})

    def abandon(self) -> None:
        """Close the root directories of the processes."""
        folders, self.folders = self.folders, {}
        for folder in folders.values():
            folder.user.close()


def valid_rows(found: object) -> Iterator[tuple[str, int, str]]:
    """Yield path, line and text of each row that a child has sent in the right form."""
    for row in found if isinstance(found, list) else ():
        match row:
            case [str(path), int(line), str(text)]:
                yield path, line, text
