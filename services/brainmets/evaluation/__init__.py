"""Scores the networks, alone or served, on labelled studies, and chooses where they decide."""
