"""Process plumbing: settings, logging, gRPC servers and clients, errors, health, metrics, artefacts."""
