"""How fast a device can be at most: accelerators by what their makers say, the CPU by a calibration."""
