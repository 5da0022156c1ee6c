"""Small training and inference programs, each ill in one known way that its first line declares;
`--fix` heals it.
"""
