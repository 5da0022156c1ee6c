"""Samples of a host for perfscope top."""
