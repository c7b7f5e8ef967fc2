"""A whole gateway for the page to stand in front of."""

from gateway_fixtures import bench, idle

__all__ = ["bench", "idle"]
