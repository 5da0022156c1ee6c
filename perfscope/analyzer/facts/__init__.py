"""What is derived from a trace, a pure function a file, used as `trace.fact(NAME)`.

Here: what steps, loaders, samples and the host's counters of our own recordings say. `traced`: what operators, kernels and
memory say, of recorded traces and of windows. `device_counters`: what NVML and the network's ports say. `links`: collectives
against the links they take.
"""
