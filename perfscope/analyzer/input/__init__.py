"""The input pipeline: whether training waits for its data, and which part of loading is slow."""
