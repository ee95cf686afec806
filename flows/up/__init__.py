"""`carillon up`: processes that restart when they die and stop when the system stops."""
