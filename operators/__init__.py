"""Pure decisions: no Bytewax, no clock, no I/O."""
