"""The control API on its Unix socket, verb by verb."""
