"""Removes secrets and names from recordings, for output that leaves the machine."""
