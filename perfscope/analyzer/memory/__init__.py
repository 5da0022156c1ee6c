"""Device memory, the allocator, and copies between host and device."""
