"""Windows of torch's profiler: when they begin, how long they last, where their traces go."""
