"""A page for people: a client of the published contract, and nothing more. Research use only."""
