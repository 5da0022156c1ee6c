"""Small training and inference programs, each with one known bottleneck.

The first line of each program declares the verdict that perfscope should reach. With `--fix` it
runs without the bottleneck.
"""
