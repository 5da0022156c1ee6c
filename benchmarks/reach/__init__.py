"""How many programs of other people a first attach can look into, down to the kernels."""
