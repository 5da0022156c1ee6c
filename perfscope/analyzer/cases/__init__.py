"""What findings of one kind share: the problem as they see it, and its arithmetic. A finding imports its case."""
