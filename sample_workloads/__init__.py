"""Small training and inference programs, each with one known bottleneck.

The first line of each program declares the verdict that perfscope should reach. The file has the
name of that finding, or of the cause; several programs for the same one add what differs. With
`--fix` a program runs without the bottleneck.
"""
