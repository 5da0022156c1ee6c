"""How fast a device and its links can be at most: accelerators by what their makers say, the CPU by
a calibration.
"""
