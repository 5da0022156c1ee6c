"""The sentence at the top: which finding bounds the run, that none does, or why it cannot be told;
and how sure that is.
"""
