"""The peaks of devices and their links: of accelerators by their data sheets, of the CPU by a
calibration.
"""
