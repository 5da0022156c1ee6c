"""What was read of a large trace, kept beside it for the next time."""
