"""Pure rules over standard-library values: no clock, no randomness, no I/O."""
