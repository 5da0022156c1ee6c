"""Facts of traces that hold operators and what accelerators ran: what each device did, why it stood idle, whose turn it was."""
