"""Jobs that hang for a known reason, and healthy jobs with long steps."""
