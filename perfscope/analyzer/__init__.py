"""What a run means: facts of a trace, findings that are tried on them, and the diagnosis they make
together.
"""
