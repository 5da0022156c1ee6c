"""Sample workloads for accelerators: `--device auto` runs them on the one that torch has.

Their sizes depend on the speed of the device, which they measure when they start.
"""
