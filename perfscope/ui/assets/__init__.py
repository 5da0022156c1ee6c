"""Styles and scripts of the report, the dashboard, and the timeline in both."""
