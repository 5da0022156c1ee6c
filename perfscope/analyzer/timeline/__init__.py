"""The timeline of a trace without drawing it: lanes of events, and what any window of them looks
like at any width.
"""
