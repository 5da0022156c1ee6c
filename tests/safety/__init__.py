"""Hostile situations: each test plays the attack that its name says."""
