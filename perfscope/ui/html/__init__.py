"""What the HTML report and the dashboard's pages are both built of: cards, charts with their notes,
tables.
"""
