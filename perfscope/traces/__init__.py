"""Recordings: run folders and files of other tools, read into a Trace; clocks, tables, writers."""
