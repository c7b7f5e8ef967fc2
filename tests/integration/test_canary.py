"""The shipped networks find the phantom's lesion, on either side, as large as it is."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme

from brainmets.client.endings import CanaryCode
from integration.running_stack import RunningStack
from local.layout import SERVICES
from manifests import STORES, combine, find_missing_tool
from tls_proxy import HOST, ending_tls


def sing(stack: RunningStack, *words: str) -> tuple[int, dict[str, object]]:
    """Run the command as a CronJob does; return its exit code and what it says."""
    return sing_to(stack.place.api_address, {}, *words)


def sing_to(address: str, variables: Mapping[str, str], *words: str) -> tuple[int, dict[str, object]]:
    """Run the command with variables beside this process's own."""
    command = [sys.executable, "-m", "brainmets.client", "canary", "--address", address, "--json"]
    environment = {**os.environ, "PYTHONPATH": str(SERVICES), **variables}
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False, env=environment)
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("seed", range(4))
def test_the_canary_sings(stack: RunningStack, seed: int) -> None:
    """Whatever noise was drawn."""
    code, report = sing(stack, "--seed", str(seed))
    assert (code, report["faults"]) == (CanaryCode.RIGHT, [])
    assert report["side"] == ("right" if seed % 2 else "left")


def test_a_canary_is_never_answered_from_the_cache(stack: RunningStack) -> None:
    """Each run draws another phantom."""
    (first, one), (second, other) = sing(stack), sing(stack)
    assert (first, second) == (CanaryCode.RIGHT, CanaryCode.RIGHT)
    assert one["seed"] != other["seed"]


def issue(authority: trustme.CA, name: str, folder: Path) -> Path:
    """Write a certificate, its key and the authority's as cert-manager does; return the folder."""
    folder.mkdir()
    certificate = authority.issue_cert(name)
    certificate.cert_chain_pems[0].write_to_path(folder / "tls.crt")
    certificate.private_key_pem.write_to_path(folder / "tls.key")
    authority.cert_pem.write_to_path(folder / "ca.crt")
    return folder


@pytest.mark.skipif(bool(find_missing_tool()), reason=find_missing_tool())
async def test_the_canary_sings_through_tls(stack: RunningStack, tmp_path: Path) -> None:
    """With the variables that Kubernetes gives it; without its certificate it is told why it is not let in."""
    authority = trustme.CA()
    own = issue(authority, "canary.example", tmp_path / "canary")
    installation = combine((STORES[0], "canary", "tls"))
    rendered = installation.environment_of(installation.pods["canary"].main)
    variables = {name: str(own / Path(value).name) for name, value in rendered.items()}
    async with ending_tls(stack.place.api_address, issue(authority, HOST, tmp_path / "api")) as address:
        code, report = await asyncio.to_thread(sing_to, address, variables)
        assert (code, report["faults"]) == (CanaryCode.RIGHT, [])
        del variables["BRAINMETS_CERT"], variables["BRAINMETS_KEY"]
        code, report = await asyncio.to_thread(sing_to, address, variables)
    assert code == CanaryCode.NO_ANSWER
    assert "--cert" in str(report["error"])
