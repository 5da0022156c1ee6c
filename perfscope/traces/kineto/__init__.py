"""The parts of the reader of PyTorch profiler traces (readers/kineto.py)."""
