"""Default signal handlers for the tests and their child processes; `nohup` and background jobs
ignore some signals, and child processes inherit that.
"""

import signal

if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
