"""Builds TensorRT plans of the served networks, inside the production Triton image, on the GPU they are for."""
