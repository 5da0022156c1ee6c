"""What devices did, from kernels, copies and counters."""
