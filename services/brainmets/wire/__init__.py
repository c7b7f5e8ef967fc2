"""Proto messages to imaging types and back, shared by both ends of a call."""
