"""Whether a job that does not move hangs, and what holds it up."""
