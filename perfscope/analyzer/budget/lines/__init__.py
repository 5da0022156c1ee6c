"""The program's line that takes the time of a finding, from stack samples."""
