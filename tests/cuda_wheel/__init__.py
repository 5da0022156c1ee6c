"""Checks with the CUDA build of torch on a machine without a GPU: `make test-cuda-wheel`. Not
collected by default.
"""
