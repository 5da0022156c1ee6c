"""A key for the contents of files, which does not depend on their folder or their times."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from perfscope.traces.regular_file import open_regular

WHOLE_BYTES: Final = 64 << 20
"""Files up to this size are hashed whole, in about 0.1 s."""
SAMPLE_BYTES: Final = 1 << 20
"""The size of the beginning and the end that are hashed of a larger file."""
BLOCK_BYTES: Final = 1 << 20


def content_key(files: Iterable[tuple[str, Path]], *facts: str) -> str:
    """Return 32 hex digits that identify named files by their contents, and `facts`.

    A file of more than WHOLE_BYTES is identified by its size, its last change, its beginning and
    its end. Raises OSError.
    """
    digest = hashlib.blake2b(digest_size=16)
    add_text(digest, *facts)
    for name, path in sorted(files):
        add_text(digest, name)
        add_file(digest, path)
    return digest.hexdigest()


def add_text(digest: "hashlib.blake2b", *texts: str) -> None:
    """Add texts to a digest, each with its length."""
    for text in texts:
        encoded = text.encode("utf-8", "surrogateescape")
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)


def add_file(digest: "hashlib.blake2b", path: Path) -> None:
    """Add the contents of a regular file to a digest. Raises OSError."""
    with open_regular(path) as file:
        status = os.fstat(file.fileno())
        digest.update(status.st_size.to_bytes(8, "little"))
        if status.st_size <= WHOLE_BYTES:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
            return
        add_text(digest, str(status.st_mtime_ns))
        digest.update(file.read(SAMPLE_BYTES))
        file.seek(-SAMPLE_BYTES, os.SEEK_END)
        digest.update(file.read(SAMPLE_BYTES))
