"""The services on one machine, beside a Redis and a Triton that run there already."""
