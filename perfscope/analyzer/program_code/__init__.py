"""Findings about the program's own code in its loop, outside of PyTorch."""
