"""The control API: what is asked and answered over a running supervisor's Unix socket, and a client for it."""
