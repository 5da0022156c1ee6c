"""Hostile situations, one file a subject: each test acts out the attack or the fault on real processes, files and sockets."""
