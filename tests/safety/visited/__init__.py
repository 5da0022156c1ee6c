"""Programs that do odd things beside the probe; each prints one line of JSON. `python -m tests.safety.visited.NAME RUN_FOLDER`."""
