"""Programs that the tests attach to."""
