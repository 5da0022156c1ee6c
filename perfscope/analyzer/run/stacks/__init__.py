"""What stack samples show: trees, shares of states, and whose code it is."""
