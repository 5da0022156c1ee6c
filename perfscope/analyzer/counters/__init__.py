"""Counters of accelerators and network ports: over time, over the steady steps, against the peaks
of the links in use.
"""
