"""How a run is measured: the recorder and its collectors, the probe and its ways into a process. Writes run folders, reads none."""
