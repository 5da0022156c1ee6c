"""Readings of the kernel: processes, control groups, the host and its network."""
