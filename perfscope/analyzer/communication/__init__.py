"""Collectives and the links that they use; ranks that hold up the others."""
