"""Measures how many programs of other people the first attach can profile down to kernels."""
