"""The verdict: the finding that bounds the run, that none does, or what is needed to know more; and
the confidence in it.
"""
