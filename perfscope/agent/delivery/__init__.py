"""How the probe gets into a process, and the connection on which it reports."""
