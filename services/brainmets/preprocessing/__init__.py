"""The gRPC service that turns stored files into normalised tiles."""
