"""What belongs to a target's user: its files are opened, made and removed here and nowhere else, with that user's own rights.

`rights` says who the user is and gives up everything else, `child` runs a function as that user in a process of its own,
`files` holds the functions.
"""
