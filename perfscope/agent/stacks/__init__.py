"""Stacks of the target through py-spy, and the lines of its program that they name."""
