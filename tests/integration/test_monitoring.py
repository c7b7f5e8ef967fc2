"""Committed rules and dashboards have data in a real Prometheus beside the running stack, and fire when they should."""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import chain

import pytest

from brainmets.client import ServiceError, StudyFile
from brainmets.client.phantom import Phantom
from debian_tool import find_debian_tool
from integration.monitored_stack import PROMETHEUS, MonitoredStack, find_selectors, load_alerts, load_panels
from integration.running_stack import RunningStack, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

# What is silent on this stack, by a pattern of what is asked for, and why. Whatever else has no data is a fault, and so
# is a line here that explains nothing any more.
SILENT = {
    r"nv_gpu_|nv_energy_": "there is no GPU",
    r"kubelet_volume_stats_|kube_job_|canary_succeeded": "there is no Kubernetes",
    r"redis_memory_max_bytes.* > 0": "the embedded Redis has no limit",
    r"ALERTS\{": "no alert fires while all is well",
    r"certificate_expiry": "the embedded stack speaks no TLS",
    r"worker_findings_total.* > 0": "there is nothing to say against a phantom",
}
ALERTS = load_alerts()
PANELS = load_panels()
# Alerts that a fault must raise, in the end.
TRITON_DEAD = {"InferenceDead", "ServiceDown", "InstanceDown"}
QUEUE_STUCK = {"QueueStalled", "QueueWaiting", "ServiceDown", "InstanceDown"}
# The fastest a dead worker's queue can be called waiting is its `for:`, which is 10 s here.
FIRE_TIMEOUT_S = 120.0
STUDIES = 3


@pytest.fixture(scope="module")
def monitored(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MonitoredStack]:
    """The stack, watched, after some studies and one that is refused; on slow machines they take a minute."""
    with MonitoredStack(stack, tmp_path_factory.mktemp("monitoring")) as monitored:
        # A counter's first step is seen only where it was scraped before.
        wait_until(lambda: len(monitored.ask("up == 1")) == len(monitored.ask("up")) > 0, timeout_s=30)
        send_studies(stack)
        wait_while(lambda: bool(find_silent(monitored)), most_s=60)
        yield monitored


def wait_while(condition: Callable[[], bool], *, most_s: float) -> None:
    """Return once a condition does not hold any more, or so much time has passed."""
    give_up_s = time.monotonic() + most_s
    while condition() and time.monotonic() < give_up_s:
        time.sleep(1.0)


def send_studies(stack: RunningStack) -> None:
    """Have some studies segmented, one of them twice, so that the cache answers, and one refused."""
    with stack.client() as client:
        for seed in chain(range(STUDIES), (0,)):
            client.segment(Phantom(seed).study())
        (file,) = Phantom(STUDIES).study()
        with pytest.raises(ServiceError):
            client.segment((StudyFile(file.path, "t1c", content=file.content[:100_000]),))


def find_silent(monitored: MonitoredStack) -> set[str]:
    """Return what is asked for by panels and alerts, has no data, and is not silent on purpose."""
    queries = set(PANELS.values()).union(*(find_selectors(alert["expr"]) for alert in ALERTS.values()))
    return {query for query in queries if not why_silent(query) and not monitored.ask(query)}


def why_silent(query: str) -> str:
    """Return the reason for which a query has no data on this stack, or nothing."""
    return next((reason for pattern, reason in SILENT.items() if re.search(pattern, query)), "")


@pytest.mark.parametrize("name", PANELS)
def test_a_panel_has_data(monitored: MonitoredStack, name: str) -> None:
    """Or is silent on purpose."""
    query = PANELS[name]
    # A scrape that comes late on busy cores makes a series stale for a moment.
    wait_while(lambda: not (monitored.ask(query) or why_silent(query)), most_s=30.0)
    assert monitored.ask(query) or why_silent(query), query


@pytest.mark.parametrize("name", ALERTS)
def test_what_an_alert_asks_for_is_there(monitored: MonitoredStack, name: str) -> None:
    """Each series that it selects, or it would be silent whatever happens."""
    selectors = find_selectors(ALERTS[name]["expr"])
    assert selectors
    asked = {selector for selector in selectors if not why_silent(selector)}
    wait_while(lambda: not all(map(monitored.ask, asked)), most_s=30.0)
    assert not {selector for selector in asked if not monitored.ask(selector)}


@pytest.mark.parametrize("pattern", SILENT)
def test_nothing_is_called_silent_in_vain(monitored: MonitoredStack, pattern: str) -> None:
    """The list stays short: each of its lines explains at least one query without data."""
    queries = set(PANELS.values()).union(*(find_selectors(alert["expr"]) for alert in ALERTS.values()))
    assert any(re.search(pattern, query) and not monitored.ask(query) for query in queries)


def test_nothing_fires_while_all_is_well(monitored: MonitoredStack) -> None:
    """A refused study is no fault of the service."""
    wait_while(lambda: bool(monitored.firing()), most_s=30.0)
    assert monitored.firing() == set()


def test_a_dead_triton_is_told(monitored: MonitoredStack, stack: RunningStack) -> None:
    """To whoever is paged, and all is quiet when it is back."""
    stack.kill("triton")
    try:
        wait_until(lambda: monitored.firing() >= TRITON_DEAD, timeout_s=FIRE_TIMEOUT_S)
        wait_until(lambda: monitored.notified().keys() >= TRITON_DEAD, timeout_s=FIRE_TIMEOUT_S)
        told = monitored.notified()
        assert told["InferenceDead"] == told["ServiceDown"] == ("active", "page")
        # Who knows that no process answers need not be told of each that does not.
        assert told["InstanceDown"] == ("suppressed", "ticket")
    finally:
        stack.start("triton")
        stack.wait_until_ready()
    wait_until(lambda: not monitored.firing() & TRITON_DEAD, timeout_s=FIRE_TIMEOUT_S)


def test_a_stuck_queue_is_told(monitored: MonitoredStack, stack: RunningStack) -> None:
    """A study waits for workers that do nothing; its cause is told, and not its effects as well."""
    with stack.frozen("worker"), stack.client() as client:
        job = client.submit(Phantom(STUDIES + 1).study())
        wait_until(lambda: monitored.firing() >= QUEUE_STUCK, timeout_s=FIRE_TIMEOUT_S)
        wait_until(lambda: monitored.notified().keys() >= QUEUE_STUCK, timeout_s=FIRE_TIMEOUT_S)
        told = monitored.notified()
        client.cancel(job.job_id)
    assert told["ServiceDown"] == ("active", "page")
    assert {told[name][0] for name in ("QueueStalled", "QueueWaiting")} == {"suppressed"}
    wait_until(lambda: not monitored.firing() & QUEUE_STUCK, timeout_s=FIRE_TIMEOUT_S)


def amtool(*words: str) -> str:
    """Run amtool on the committed configuration; return what it says."""
    program = find_debian_tool("amtool", package="prometheus-alertmanager")
    done = subprocess.run([program, *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_alertmanager_takes_its_configuration() -> None:
    """As amtool says."""
    assert "SUCCESS" in amtool("check-config", "alertmanager.yaml")


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_reaches_who_its_severity_says(name: str) -> None:
    """A page wakes somebody; a ticket waits for the morning."""
    severity = ALERTS[name]["labels"]["severity"]
    labels = (f"alertname={name}", f"severity={severity}", "job=brainmets-api")
    assert amtool("config", "routes", "test", "--config.file=alertmanager.yaml", *labels) == severity
