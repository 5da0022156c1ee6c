"""Hostile situations: another user, replaced folders, links, floods, broken input. `long_*.py` run with `make test-long`."""
