"""Benchmarks that judge answers: what they compare with."""
