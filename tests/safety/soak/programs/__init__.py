"""The programs that the soak attaches to, and what they have in common (`observed`). Each is
started as a script.
"""
