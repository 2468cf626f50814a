"""``supervisor demo``: a worker dies, another takes over, nothing is lost; shown live and proven from a ledger."""
