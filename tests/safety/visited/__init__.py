"""Programs that do odd things beside the probe and print one line of JSON: `python -m tests.safety.visited.NAME RUN_FOLDER`."""
