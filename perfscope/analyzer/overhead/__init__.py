"""The overhead of the recording itself."""
