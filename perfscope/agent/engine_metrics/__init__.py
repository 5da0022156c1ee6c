"""Reading the metrics page of an inference engine: its address, the requests, the engine's process.

Only this package sends requests, and only to the address that the user or the engine's own process
names.
"""
