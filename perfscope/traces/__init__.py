"""What a run is: its folder, clocks, identity, tables and interval algebra."""
