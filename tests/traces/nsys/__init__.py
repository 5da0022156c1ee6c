"""Exports of Nsight Systems, small ones written here and recorded ones."""
