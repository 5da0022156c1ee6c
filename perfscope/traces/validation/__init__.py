"""Checks that every trace is subjected to after reading: what no machine can have done, what was
repaired or left out, and what is doubtful. To add a check, write a function in `checks.py` and list
it there, and describe its invariant in `invariants.py`.
"""
