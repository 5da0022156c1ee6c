"""What was read of large traces, kept in the reader's own cache folder for the next time."""
