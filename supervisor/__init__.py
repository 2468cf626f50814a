"""Run Kafka handlers as self-healing worker processes on plain machines."""

__version__ = "0.1.0"
