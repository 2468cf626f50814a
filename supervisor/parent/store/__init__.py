"""Events and the journal: what happened, told once and kept."""
