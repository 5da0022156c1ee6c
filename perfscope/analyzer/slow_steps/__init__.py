"""Steps that take longer than others of the same run: growing, or slow with a period."""
