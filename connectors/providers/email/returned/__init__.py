"""What a returned mail says: who was not reached, and whether the address or something else is to blame."""
