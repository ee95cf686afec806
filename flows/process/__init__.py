"""What every process of the system does: open the log, take its place, drain, log, show that it lives."""
