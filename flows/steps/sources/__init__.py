"""Sources of the flows: the log by lane, one owner, ticks, and how each shows that it gets on."""
