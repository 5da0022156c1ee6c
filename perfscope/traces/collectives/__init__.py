"""Matches the collectives of the ranks of a job."""
