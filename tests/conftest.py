"""A real Redis for every test that needs one."""

from collections.abc import Iterator

import hypothesis
import pytest
import redis

from azure_server import azure_container, azure_endpoint
from redis_server import REDIS_SERVER, RedisServer
from s3_server import s3_bucket, s3_endpoint

# Neither a busy machine nor another draw of the examples fails a test.
hypothesis.settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("steady")

__all__ = ["azure_container", "azure_endpoint", "s3_bucket", "s3_endpoint"]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The session's Redis."""
    if not REDIS_SERVER.exists():
        pytest.skip("needs redis-server in build/redis (make up unpacks it)")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of an empty Redis."""
    with redis.Redis(port=redis_server.port) as client:
        client.flushall()
    return redis_server.url
