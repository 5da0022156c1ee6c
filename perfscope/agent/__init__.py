"""How a run is measured: the recorder, its collectors, the probe and its ways into a process.
Writes run folders, reads none.
"""
