"""Style and script of the report, the dashboard and, in a folder of its own, the timeline that both
show.
"""
