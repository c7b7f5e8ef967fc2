"""The gateway: takes studies over gRPC, queues them in Redis, and works them off."""
