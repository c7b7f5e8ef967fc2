"""A real Prometheus scrapes what our processes tell, and every rule can be evaluated on it."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

import pytest
import yaml
from prometheus_client import Histogram

from brainmets.runtime.metric_contract import Service
from brainmets.runtime.metrics_server import serve_metrics
from debian_tool import find_debian_tool
from free_addresses import free_addresses
from monitoring.metrics.registries import build_registry

PROMETHEUS = Path(__file__).resolve().parents[2] / "deploy" / "monitoring" / "prometheus"
JOBS = {
    "brainmets-api": Service.GATEWAY,
    "brainmets-worker": Service.WORKER,
    "brainmets-preprocessing": Service.PREPROCESSING,
}
# Two of each: what holds for one process may be ambiguous for several.
REPLICAS = 2
WAIT_S = 60.0
TRACED, TRACE_ID = "traced_seconds", "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus with our rules, which scrapes each service's metrics each second; yields where it answers."""
    binary = find_debian_tool("prometheus", package="prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    (address,) = free_addresses()
    with ExitStack() as stack:
        registries = {job: [build_registry(service) for _ in range(REPLICAS)] for job, service in JOBS.items()}
        traced = Histogram(TRACED, "Points to a trace.", registry=registries["brainmets-worker"][0])
        traced.observe(1.0, exemplar={"trace_id": TRACE_ID})
        targets = {
            job: [f"127.0.0.1:{stack.enter_context(serve_metrics(registry, '127.0.0.1:0'))}" for registry in of_job]
            for job, of_job in registries.items()
        }
        write_configuration(folder, targets)
        words = [
            binary,
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
        ]
        # Whatever else the deployed one is told.
        words += [word for word in composed_words() if word.startswith("--enable-feature=")]
        process = stack.enter_context(subprocess.Popen(words, stderr=subprocess.DEVNULL))
        stack.callback(process.kill)
        yield address


def composed_words() -> list[str]:
    """Return the command line of the Prometheus of deploy/compose."""
    compose = yaml.safe_load((PROMETHEUS.parents[1] / "compose" / "compose.yaml").read_text())
    words: list[str] = compose["services"]["prometheus"]["command"]
    return words


def write_configuration(folder: Path, targets: dict[str, list[str]]) -> None:
    """Write our configuration with other targets, and our rules with shorter intervals."""
    names = yaml.safe_load((PROMETHEUS / "prometheus.yaml").read_text())["rule_files"]
    for name in names:
        rules = yaml.safe_load((PROMETHEUS / name).read_text())
        for group in rules["groups"]:
            group.pop("interval", None)
        (folder / name).write_text(yaml.safe_dump(rules))
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": names,
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": addresses}]} for job, addresses in targets.items()
        ],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))


def ask(server: str, path: str) -> Any:  # Any: JSON
    """Return what Prometheus answers, or nothing while it starts."""
    try:
        with urlopen(f"http://{server}/api/v1/{path}", timeout=10) as answer:
            return json.load(answer)["data"]
    except (URLError, OSError):
        return None


def wait_for(answer: Callable[[], Any], *, enough: Callable[[Any], bool]) -> Any:  # Any: JSON
    """Return an answer once it is enough, or the last one."""
    give_up = time.monotonic() + WAIT_S
    while not enough(got := answer()) and time.monotonic() < give_up:
        time.sleep(0.2)
    return got


def load_rules(server: str) -> list[dict[str, Any]]:  # Any: JSON
    """Return each rule as Prometheus has it, with how its last evaluation went."""
    return [rule for group in (ask(server, "rules") or {"groups": []})["groups"] for rule in group["rules"]]


def test_every_rule_is_evaluated_without_an_error(server: str) -> None:
    """No two series of two processes are confused, whatever labels they have."""
    rules = wait_for(
        lambda: load_rules(server), enough=lambda got: bool(got) and all(rule["health"] == "ok" for rule in got)
    )
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []
    assert rules


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ('brainmets:jobs_ended:max{state="failed", reason="attempts_exhausted", phase="running"}', 0),
        ('brainmets:job_turnaround_seconds_bucket:max{state="succeeded", le="300.0"}', 0),
        ('instance:brainmets_objective_misses:total{objective="turnaround"}', 0),
        ('count(instance:brainmets_objective_events:total{objective="accept"})', REPLICAS),
        ('brainmets:dependency_up:max{dependency="preprocessing"}', 0),
        ("brainmets:jobs_overdue:max", 0),
    ],
)
def test_rules_have_values_from_the_start(server: str, query: str, value: float) -> None:
    """Before the first study, so that the first failure is a step."""
    assert wait_for(lambda: query_values(server, query), enough=lambda got: got == [value]) == [value]


def query_values(server: str, query: str) -> list[float]:
    """Return the values that a query has now."""
    answer = ask(server, f"query?query={quote(query)}") or {"result": []}
    return [float(sample["value"][1]) for sample in answer["result"]]


def test_what_a_duration_points_to_is_kept(server: str) -> None:
    """It is told in OpenMetrics alone, and stored by a Prometheus that is asked to."""
    query = f"query_exemplars?query={TRACED}_bucket&start={time.time() - 3600}&end={time.time() + 3600}"
    found = wait_for(lambda: ask(server, query), enough=bool)
    assert [item["labels"] for series in found for item in series["exemplars"]] == [{"trace_id": TRACE_ID}]
