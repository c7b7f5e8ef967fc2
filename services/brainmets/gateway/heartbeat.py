"""Owns the heartbeat: keeps a claim's lease alive from its own thread, whatever the event loop does."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from brainmets.gateway.jobs import Claim
from brainmets.gateway.redis_connection import connect_redis_blocking, read_script, redis_errors, tenant_key
from brainmets.gateway.store_refusals import check_hold, stale_lease
from brainmets.imaging.errors import (
    BrainmetsError,
    DependencyUnavailableError,
    JobCancelledError,
    StaleLeaseError,
)

# Renewals in one lease, or more: four may fail before another worker can take the job.
BEATS_PER_LEASE = 5
# A client that cancels is heard at the next beat, and Triton should stop within about a second.
LONGEST_PAUSE_S = 1.0


class Heartbeat:
    """Renews a claim's lease while its `with` block runs.

    `on_lost` is called at most once, from the heartbeat's thread, and never once the block is left. It is told a
    JobCancelledError or a StaleLeaseError: the work is then in vain and should stop. A Redis that cannot be reached
    counts as a lost lease after `lease_s`.
    """

    def __init__(
        self, redis_url: str, claim: Claim, *, lease_s: float, on_lost: Callable[[BrainmetsError], None]
    ) -> None:
        self._claim = claim
        self._lease_s = lease_s
        self._on_lost = on_lost
        self._pause_s = min(lease_s / BEATS_PER_LEASE, LONGEST_PAUSE_S)
        self._stop = threading.Event()
        self._telling = threading.Lock()
        self._client = connect_redis_blocking(redis_url, timeout_s=lease_s / BEATS_PER_LEASE)
        self._renew_script = self._client.register_script(read_script("renew_lease"))
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The thread is not waited for: its beat may hang with Redis, and the event loop has other studies.
        with self._telling:
            self._stop.set()

    def _run(self) -> None:
        with self._client:
            self._beat()

    def _beat(self) -> None:
        renewed_at = time.monotonic()
        while not self._stop.wait(self._pause_s):
            began_at = time.monotonic()
            try:
                self._renew()
            except DependencyUnavailableError:
                if time.monotonic() - renewed_at > self._lease_s:
                    self._tell(stale_lease())
                    return
            except (JobCancelledError, StaleLeaseError) as error:
                self._tell(error)
                return
            else:
                # The lease counts from when Redis ran the script, which was after this.
                renewed_at = began_at

    def _tell(self, error: BrainmetsError) -> None:
        with self._telling:
            if not self._stop.is_set():
                self._on_lost(error)

    def _renew(self) -> None:
        job = self._claim.job
        with redis_errors():
            reply = self._renew_script(
                keys=[tenant_key(job.tenant)], args=[job.job_id, self._claim.fence, self._claim.entry_id]
            )
        check_hold(reply[0])
