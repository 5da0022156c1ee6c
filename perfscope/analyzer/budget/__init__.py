"""Where the time went: the categories of each step and of the whole span, by rank."""
