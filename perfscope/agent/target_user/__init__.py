"""Access to files of the target's user. Only this package opens, creates or removes them, with that
user's own rights.

`rights` says who the user is and gives up everything else, `child` runs a function as that user in
a process of its own, `files` holds the functions.
"""
