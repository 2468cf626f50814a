"""One slot: its worker from the first process to the last, its files, what it may use, and what all slots share."""
