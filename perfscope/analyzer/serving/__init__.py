"""Servers: what their requests experience, by the metrics of their inference engines."""
