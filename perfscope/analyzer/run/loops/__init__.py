"""The outer loop of each process, and its steps."""
