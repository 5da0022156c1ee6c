"""The soak: attaches to twelve kinds of program again and again, and checks after each time that
nothing was harmed.
"""
