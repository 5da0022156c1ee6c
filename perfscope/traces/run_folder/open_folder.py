"""A folder that is held open. Files in it are created, renamed and removed relative to its
descriptor.

A recording often runs as root inside a folder of another user. That user can rename the run folder,
or replace it with a link or another folder, at any moment. So its path is used once, to create it.
From then on only descriptors are used, and no link is followed.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perfscope.errors import UsageError

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
FOLDER_MODE, FILE_MODE = 0o700, 0o600


class HeldFolder:
    """A folder that is held open. Its methods raise OSError."""

    def __init__(self, descriptor: int) -> None:
        """Take over the descriptor of an open folder."""
        self.descriptor = descriptor
        self.inside: dict[str, tuple[int, int]] = {}
        """Folder in this one -> its device and inode."""

    def create(self, name: str) -> int:
        """Create the file `name`, which must not exist, and return its descriptor."""
        descriptor = os.open(name, NEW_FILE, FILE_MODE, dir_fd=self.descriptor)
        give_to_caller_of_sudo(descriptor)
        return descriptor

    def rename(self, name: str, to: str) -> None:
        """Rename a file; a file called `to` is replaced."""
        os.rename(name, to, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def folder(self, name: str) -> "HeldFolder":
        """Open the folder `name` in this one; the first call creates it.

        Raises OSError with ESTALE when the folder was replaced.
        """
        known = self.inside.get(name)
        descriptor = (
            make_held_folder(name, self.descriptor)
            if known is None
            else os.open(name, DIRECTORY, dir_fd=self.descriptor)
        )
        found = device_and_inode(descriptor)
        if found != self.inside.setdefault(name, found):
            os.close(descriptor)
            raise OSError(errno.ESTALE, f"the folder {name} in the run folder was replaced")
        return HeldFolder(descriptor)

    @contextmanager
    def opened(self, name: str) -> Iterator["HeldFolder"]:
        """Open the folder `name` for a `with` block."""
        folder = self.folder(name)
        try:
            yield folder
        finally:
            folder.close()

    def is_deleted(self) -> bool:
        """Return whether the folder was removed."""
        try:
            return os.fstat(self.descriptor).st_nlink == 0
        except OSError:  # a file server may report it as an error
            return True

    def location(self) -> Path | None:
        """Return the current path of the folder, None when it was removed or has no path."""
        if self.is_deleted():
            return None
        path = Path(os.readlink(f"/proc/self/fd/{self.descriptor}"))
        return path if self.is_at(path) else None

    def is_at(self, path: Path) -> bool:
        """Return whether `path` leads to this folder."""
        try:
            found = os.stat(path)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == device_and_inode(self.descriptor)

    def close(self) -> None:
        """Close the folder; a second call does nothing."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def create_run_folder(path: Path) -> HeldFolder:
    """Create the folder at `path` and its missing parents, and return it open. An existing folder
    is used when it is empty and belongs to the user.

    Raises UsageError when it is a link, belongs to another user, or is not empty. Raises OSError.
    """
    name, above = path.name, path.parent
    if name in ("", ".."):
        name, above = path.resolve().name or ".", path.resolve().parent
    parent = held_parent(above)
    try:
        try:
            descriptor = make_held_folder(name, parent)
        except FileExistsError:
            descriptor = existing_folder(path, name, parent)
    finally:
        os.close(parent)
    return HeldFolder(descriptor)


def held_parent(path: Path) -> int:
    """Return a descriptor of the folder at `path`. Missing folders are created, and links are not
    followed below them.
    """
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        if path.parent == path or os.path.lexists(path):  # exists: a broken link
            raise
    above = held_parent(path.parent)
    try:
        return make_held_folder(path.name, above, mode=0o777)
    except FileExistsError:  # another recording of the job has just created it
        return os.open(path.name, DIRECTORY, dir_fd=above)
    finally:
        os.close(above)


def make_held_folder(name: str, parent: int, mode: int = FOLDER_MODE) -> int:
    """Create a folder and return its descriptor.

    Somebody may have replaced the new folder before it is opened. So it must be empty and belong to
    this user, else OSError is raised.
    """
    os.mkdir(name, mode, dir_fd=parent)
    descriptor = os.open(name, DIRECTORY, dir_fd=parent)
    try:
        owner = os.fstat(descriptor).st_uid
        if owner != os.geteuid():
            raise OSError(errno.ESTALE, f"the new folder {name} belongs to uid {owner}")
        if os.listdir(descriptor):
            raise OSError(errno.ESTALE, f"the new folder {name} was replaced")
        give_to_caller_of_sudo(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def existing_folder(path: Path, name: str, parent: int) -> int:
    """Return the descriptor of an existing folder. Raises UsageError unless it is empty and belongs
    to the user.
    """
    try:
        descriptor = os.open(name, DIRECTORY, dir_fd=parent)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        kind = "a link" if path.is_symlink() else "not a folder"
        raise UsageError(f"{path} is {kind}. Choose another folder with --out.") from None
    try:
        owner = os.fstat(descriptor).st_uid
        if owner not in (os.geteuid(), caller_of_sudo()[0]):
            raise UsageError(
                f"{path} belongs to another user (uid {owner}). Choose another folder with --out."
            )
        if os.listdir(descriptor):
            raise UsageError(
                f"{path} is not empty, and recordings are not overwritten. Choose another folder"
                " with --out."
            )
        with contextlib.suppress(PermissionError):  # a file system without modes
            os.fchmod(descriptor, FOLDER_MODE)
    except (OSError, UsageError):
        os.close(descriptor)
        raise
    return descriptor


def device_and_inode(descriptor: int) -> tuple[int, int]:
    """Return (device, inode) of an open file."""
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def caller_of_sudo() -> tuple[int, int]:
    """Return (uid, gid) of the user who called sudo, (-1, -1) when this process does not run under
    sudo.
    """
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() != 0 or not (uid.isdecimal() and gid.isdecimal()):
        return -1, -1
    return int(uid), int(gid)


def give_to_caller_of_sudo(descriptor: int) -> None:
    """Make the user who called sudo the owner of a new file, so that they can read it."""
    uid, gid = caller_of_sudo()
    if uid > 0:
        with contextlib.suppress(OSError):  # a file system without owners: it stays as it is
            os.fchown(descriptor, uid, gid)
