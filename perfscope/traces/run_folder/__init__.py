"""Our own recordings, run folders: how they are written, read back, and turned into tables."""
