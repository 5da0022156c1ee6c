"""The soak: attaches to twelve kinds of program many times, and checks each time that nothing was
harmed.
"""
