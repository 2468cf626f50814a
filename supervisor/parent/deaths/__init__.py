"""What is found out about a worker's death, and the ledger of records that kill their workers."""
