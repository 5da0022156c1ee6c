"""`perfscope.profile()`: a region of the user's code, recorded by the same agent and probe as a
process that is attached to.
"""
