"""From a trace to a diagnosis: facts of the trace, findings checked on them, and the verdict."""
