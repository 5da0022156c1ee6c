"""`perfscope.profile()`: a region of one's own code, recorded by the same agent and probe as a
process that is attached to.
"""
