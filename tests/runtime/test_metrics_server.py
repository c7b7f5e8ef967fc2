"""Prometheus can scrape a process."""

import socket
import urllib.request

import pytest

from brainmets.runtime.metrics import ApiMetrics
from brainmets.runtime.metrics_server import new_registry, serve_metrics


def test_metrics_are_served_over_http() -> None:
    """Prometheus finds the process's own metrics too."""
    registry = new_registry()
    ApiMetrics(registry).sent_bytes.inc(3)
    with (
        serve_metrics(registry, "127.0.0.1:0") as port,
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer,
    ):
        text = answer.read().decode()
    assert "brainmets_gateway_sent_bytes_total 3.0" in text
    assert "process_resident_memory_bytes" in text


def test_a_taken_port_is_refused() -> None:
    """A process does not start without its metrics."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OSError, match="in use"), serve_metrics(new_registry(), address):
            pass
