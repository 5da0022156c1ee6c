"""Callbacks for the trainers of other libraries, which diagnose a training run when it ends."""
