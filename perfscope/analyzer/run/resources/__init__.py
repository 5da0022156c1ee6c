"""The cores and the memory that the job and its machine use."""
