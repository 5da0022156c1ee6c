"""How files of Nsight Systems are recognized."""

from typing import Final

REPORT_SUFFIXES: Final = (".nsys-rep", ".qdrep", ".qdstrm")
"""Reports in Nsight's own format, which only `nsys export` reads."""
EXPORT_SUFFIXES: Final = (".sqlite", ".sqlite3", ".db")
SQLITE_MAGIC: Final = b"SQLite format 3\x00"
