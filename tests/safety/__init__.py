"""Tests of hostile input, other users and failures; the name of a test states the attack."""
