"""Checks of every trace after reading: which events contradict each other, what was repaired or
left out, and what is doubtful. To add a check, write a function in `checks.py` and list it there,
and describe its invariant in `invariants.py`.
"""
