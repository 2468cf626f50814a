"""Groups of slots: how many, which of them when, and what is done for a group as a whole."""
