"""What schedule keeps: events for later, in the order of their release."""
