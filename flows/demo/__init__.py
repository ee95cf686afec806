"""`carillon up --demo`: a workload, the people in it, and the live view."""
