"""The parent process: one asyncio loop on the main thread that keeps workers alive. No Kafka, no user code (P5)."""
