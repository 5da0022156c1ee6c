"""A cache of the tables of large traces, in the user's cache folder."""
