"""What the NVIDIA driver's management library (NVML) tells of the devices of this host;
`collectors/nvml.py` records it.
"""
