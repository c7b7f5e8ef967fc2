"""A whole study with object storage behind every service, instead of a folder."""

from pathlib import Path

import boto3
import pytest
from structlog.testing import capture_logs

from brainmets.client import AsyncClient
from brainmets.runtime.artifact_store import ArtifactStore
from gateway_bench import running_gateway


async def test_a_study_goes_through_object_storage_and_is_erased_from_it(
    redis_url: str, s3_endpoint: str, s3_bucket: str, study: Path
) -> None:
    """Uploads, inputs and results lie in the bucket; erasing the job leaves none of them."""
    name = s3_bucket.removeprefix("s3://").split("/")[0]
    bucket = boto3.resource("s3", endpoint_url=s3_endpoint, region_name="us-east-1").Bucket(name)
    with capture_logs():
        async with (
            running_gateway(redis_url, s3_bucket) as running,
            running.working(),
            AsyncClient(running.address) as client,
        ):
            segmentation = await client.segment(study)
            assert len(segmentation.lesions) == 1
            keys = {each.key for each in bucket.objects.all()}
            assert any(key.endswith("mask.nii.gz") for key in keys)
            assert all(key.startswith("brainmets/") for key in keys)
            await client.delete(segmentation.job.job_id)
            assert not list(bucket.objects.all())


@pytest.mark.integration
async def test_a_study_goes_through_azure_and_is_erased_from_it(
    redis_url: str, azure_container: str, study: Path
) -> None:
    """Likewise, in a container of Azure's own emulator."""
    store = ArtifactStore.open(azure_container)
    with capture_logs():
        async with (
            running_gateway(redis_url, azure_container) as running,
            running.working(),
            AsyncClient(running.address) as client,
        ):
            segmentation = await client.segment(study)
            assert len(segmentation.lesions) == 1
            assert any(path.endswith("mask.nii.gz") for path in await store.list_paths("jobs/"))
            await client.delete(segmentation.job.job_id)
            assert await store.list_paths("jobs/") == ()
