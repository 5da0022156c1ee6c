"""What keeps the use of the machine by perfscope low: priority, CPU time, pace of sampling."""
