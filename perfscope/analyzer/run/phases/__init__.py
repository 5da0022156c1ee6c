"""The phases of a recording: training, validation, saving, starting."""
