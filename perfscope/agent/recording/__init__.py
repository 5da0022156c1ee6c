"""One recording from its plan to its end: the recorder, the collectors it runs, its streams."""
