"""Several files or run folders as one job: which they are, how they are read side by side, one
clock, one Trace.
"""
