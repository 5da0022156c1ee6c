"""Servers of a small model under load, each with one bottleneck that `--fix` removes."""
