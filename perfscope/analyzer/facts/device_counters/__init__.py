"""What counters of accelerators and network ports say: over time, over the steady steps, against the peaks of links in use."""
