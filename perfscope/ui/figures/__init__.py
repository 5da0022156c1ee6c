"""Figures: pure functions from facts and tables to plotly figures, one per file."""
