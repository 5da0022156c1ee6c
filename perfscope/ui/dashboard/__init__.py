"""The dashboard: a Dash application over a folder of runs and a recording that is under way."""
