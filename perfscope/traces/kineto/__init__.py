"""Reads traces of the PyTorch profiler. `trace_file.py` is the entry point.

The text of a file (`text.py`) is cut into pieces (`pieces.py`), which are parsed into columns in
parallel (`file.py`, `piece_parser.py`, `compiled_parser.py`) and become tables (`tables.py`).
"""
