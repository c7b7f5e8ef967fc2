"""The service over HTTP and JSON: a client of the published contract, and nothing more. Research use only."""
