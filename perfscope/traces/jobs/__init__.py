"""Several files or run folders as one job: finds the members, reads them in parallel, aligns their
clocks and merges their tables.
"""
