"""Checks of this machine: perfscope doctor, and the calibration of its peak rates."""
