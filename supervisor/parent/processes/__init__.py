"""Child processes: how they are started, spoken with, watched, and how their end is noticed."""
