"""Figures: pure functions from facts and tables to plotly Figures, one a file; pages and the HTML
report share them.
"""
