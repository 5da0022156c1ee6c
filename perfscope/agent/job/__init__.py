"""Which processes belong to a job, and what each of them is for."""
