"""When a window of torch's profiler is taken, how long it lasts, and where its trace goes."""
