"""The host: Python, garbage collection, checkpoints, cores, and launching work too slowly."""
