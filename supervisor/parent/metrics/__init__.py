"""The HTTP listener and what it shows."""
