"""The ranks of a job: which processes they are, and how they wait for each other."""
