"""The child process that runs alert plugins: user code, away from the process that supervises (P5)."""
