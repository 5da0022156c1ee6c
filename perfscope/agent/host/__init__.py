"""What the kernel tells of processes, control groups and the host."""
