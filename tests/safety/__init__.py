"""Hostile users, files, sockets and names: one file per subject."""
