"""The work of operators and kernels: FLOPs and bytes, rooflines, what limits them."""
