"""Callbacks for the trainers of other libraries: one more argument to the trainer, and the run is
diagnosed when it ends.
"""
