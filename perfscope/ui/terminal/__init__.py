"""The diagnosis, a recording and a long read, as they stand in a terminal."""
