"""Checks of perfscope on a GPU: `make gpu-check`.

perfscope was developed without a GPU. Each check tries one thing that only a device can show, and
says what it saw. The report is for an issue of the kind *Report of a GPU check*. It takes at most
eight minutes.
"""
