"""The summary of a run before findings: its processes, its duration, and how the time was spent."""
