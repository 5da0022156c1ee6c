"""What a recording holds, before any question is asked of it: steps, threads, samples, counters,
the work of devices.
"""
