"""Facts of a recording that several subjects use: steps, threads, samples, counters, devices."""
