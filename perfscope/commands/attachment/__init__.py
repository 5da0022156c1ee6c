"""The parts of `perfscope attach`."""
