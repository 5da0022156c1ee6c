"""What is known of a run before anything is judged: who ran, for how long, where the time went."""
