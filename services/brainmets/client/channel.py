"""How the client connects: limits, keepalive and the retry policy every client should use."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import grpc.aio

if TYPE_CHECKING:
    from brainmets.client.tls import Tls

# A chunk is at most 1 MiB and a job far less; the bound is there so that a wrong server cannot fill our memory.
MAX_MESSAGE_BYTES = 8 << 20
# A silent network is noticed after ping + timeout; without the second option a frozen server takes a minute.
KEEPALIVE_TIME_MS = 20_000
PING_TIMEOUT_MS = 10_000

# Only calls that may be repeated: a WriteUpload or SegmentStudy is mended by the client instead.
_IDEMPOTENT = [
    "CreateUpload",
    "GetUpload",
    "SubmitStudy",
    "GetJob",
    "ListJobs",
    "WatchJob",
    "CancelJob",
    "DeleteJob",
    "DownloadArtifact",
]
SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [
                *({"service": "brainmets.v1.SegmentationService", "method": name} for name in _IDEMPOTENT),
                {"service": "brainmets.v1.ModelService"},
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "maxBackoff": "3s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ]
}


def open_channel(address: str, tls: Tls | None = None) -> grpc.aio.Channel:
    """Open a channel to host:port with the documented options, in plaintext unless told otherwise."""
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", KEEPALIVE_TIME_MS),
        ("grpc.keepalive_timeout_ms", PING_TIMEOUT_MS),
        ("grpc.http2.ping_timeout_ms", PING_TIMEOUT_MS),
        ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
        ("grpc.enable_retries", 1),
    ]
    if tls is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, tls.credentials(), options=options)
