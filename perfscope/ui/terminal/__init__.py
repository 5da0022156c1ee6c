"""The diagnosis, the progress of a recording, and that of reading a trace, in a terminal."""
