"""How the probe gets into a process, from outside or by itself, and the line on which it
reports.
"""
