"""NVIDIA devices, read through the driver's management library (NVML)."""
