"""Reads exports of Nsight Systems. `tables.py` is the entry point; `database.py` reads the SQLite
file.
"""
