"""Jobs that make no progress: whether to wait on, and what PyTorch's Flight Recorder dumped."""
