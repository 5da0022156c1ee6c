"""What the thread of the loop does outside of torch's calls, by the program's own lines."""
