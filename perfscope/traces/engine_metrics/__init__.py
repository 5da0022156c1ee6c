"""The metrics pages of inference engines: the names of their metrics, and reading a page."""
