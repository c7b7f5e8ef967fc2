"""A job as plain values."""

from datetime import UTC, datetime, timedelta, timezone

from google.protobuf.timestamp_pb2 import Timestamp

from brainmets.client.jobs import job_from_proto
from brainmets.v1 import job_pb2

ACCEPTED = datetime(2026, 11, 28, 13, 56, 56, tzinfo=UTC)


def timestamp(moment: datetime) -> Timestamp:
    """Return a moment as the contract has it."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def test_times_are_those_of_a_zone() -> None:
    """Whoever compares them with another clock is not hours off."""
    message = job_pb2.Job(
        state=job_pb2.JOB_STATE_QUEUED,
        create_time=timestamp(ACCEPTED),
        expire_time=timestamp(ACCEPTED + timedelta(days=1)),
    )
    job = job_from_proto(message)
    assert job.create_time == ACCEPTED.astimezone(timezone(timedelta(hours=1)))
    assert job.expire_time == ACCEPTED + timedelta(days=1)


def test_a_job_that_does_not_say_when_it_expires_has_no_such_time() -> None:
    """And not one of 1970."""
    assert job_from_proto(job_pb2.Job(state=job_pb2.JOB_STATE_QUEUED)).expire_time is None
