"""HTML of the report; the dashboard shows the same cards, charts and tables."""
