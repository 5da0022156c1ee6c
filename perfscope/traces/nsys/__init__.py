"""The parts of the reader of Nsight Systems exports (readers/nsys.py)."""
