"""Rules, alerts and dashboards ask for what exists, and every alert has its runbook."""

import importlib
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from brainmets.runtime.metric_contract import Service
from brainmets.runtime.metrics_server import new_registry
from brainmets.runtime.settings import ApiSettings
from debian_tool import find_debian_tool
from monitoring.metrics.registries import build_registry

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "monitoring" / "prometheus"
DASHBOARDS = ROOT / "deploy" / "monitoring" / "grafana" / "dashboards"
RUNBOOKS = "docs/runbooks.md"
# Metrics of others that rules and panels ask for, as those who declare them write them.
FOREIGN = {
    # Prometheus
    "up",
    "ALERTS",
    # Triton
    "nv_cpu_utilization",
    "nv_energy_consumption",
    "nv_gpu_memory_total_bytes",
    "nv_gpu_memory_used_bytes",
    "nv_gpu_power_usage",
    "nv_gpu_utilization",
    "nv_inference_compute_infer_duration_us",
    "nv_inference_compute_input_duration_us",
    "nv_inference_compute_output_duration_us",
    "nv_inference_count",
    "nv_inference_exec_count",
    "nv_inference_pending_request_count",
    "nv_inference_queue_duration_us",
    "nv_inference_request_failure",
    "nv_inference_request_success",
    # redis_exporter
    "redis_aof_current_size_bytes",
    "redis_aof_enabled",
    "redis_aof_last_bgrewrite_status",
    "redis_aof_last_write_status",
    "redis_commands_duration_seconds_total",
    "redis_commands_processed_total",
    "redis_commands_total",
    "redis_memory_max_bytes",
    "redis_memory_used_bytes",
    "redis_rdb_last_bgsave_status",
    "redis_up",
    # Kubernetes
    "kubelet_volume_stats_available_bytes",
    "kubelet_volume_stats_capacity_bytes",
    "kube_cronjob_created",
    "kube_cronjob_status_last_successful_time",
    "kube_job_failed",
    "kube_job_status_start_time",
}
# PromQL's words that no parenthesis need follow.
KEYWORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "offset", "bool"}

Rule = dict[str, Any]  # Any: YAML


def load_rules() -> list[Rule]:
    """Return all rules that Prometheus loads."""
    names = yaml.safe_load((PROMETHEUS / "prometheus.yaml").read_text())["rule_files"]
    files = [yaml.safe_load((PROMETHEUS / name).read_text()) for name in names]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def load_panels() -> Iterator[tuple[str, str]]:
    """Yield each query of each panel with the panel's name."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                yield f"{path.stem}: {panel['title']}", target["expr"]


RULES = load_rules()
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
QUERIES = [(rule.get("alert") or rule["record"], rule["expr"]) for rule in RULES] + list(load_panels())


def metric_names(query: str) -> set[str]:
    """Return the names of the series that a query selects."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\$\w+", " ", query)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    return set(re.findall(r"(?<![\w:])[a-zA-Z_:][\w:]*\b(?!\s*\()", bare)) - KEYWORDS


def asked_values(query: str) -> Iterator[tuple[str, str]]:
    """Yield each label and each value that a query asks it for."""
    for selector in re.findall(r"\{([^}]*)\}", query):
        for label, values in re.findall(r"(\w+)\s*[!=]~?\s*[\"']([^\"']*)[\"']", selector):
            yield from ((label, value) for value in values.split("|"))


@pytest.fixture(scope="module")
def own() -> dict[str, dict[str, set[str]]]:
    """Return the values of each label of each series that our processes have from their start."""
    series: dict[str, dict[str, set[str]]] = {}
    for registry in (new_registry(), *(build_registry(service) for service in Service)):
        for family in registry.collect():
            for sample in family.samples:
                labels = series.setdefault(sample.name, {})
                for label, value in sample.labels.items():
                    labels.setdefault(label, set()).add(value)
    return series


@pytest.mark.parametrize(("asker", "query"), QUERIES, ids=[asker for asker, _ in QUERIES])
def test_what_is_asked_for_exists(own: dict[str, dict[str, set[str]]], asker: str, query: str) -> None:
    """A name that nobody declares would be silent for ever."""
    assert metric_names(query) <= own.keys() | FOREIGN | RECORDED, asker


@pytest.mark.parametrize(
    "label", ["method", "code", "reason", "state", "phase", "dependency", "outcome", "stage", "le"]
)
def test_what_labels_are_asked_for_exists(own: dict[str, dict[str, set[str]]], label: str) -> None:
    """So would a value that its label never has."""
    known = {value for labels in own.values() for value in labels.get(label, ())}
    if label == "code":
        known = set(grpc.StatusCode.__members__)
    asked = {value for _, query in QUERIES for name, value in asked_values(query) if name == label}
    assert asked <= known


def test_prometheus_keeps_what_objectives_look_back_on() -> None:
    """The longest window of any query, and some days more; its default is 15 days."""
    (compose,) = (ROOT / "deploy" / "compose").glob("compose.yaml")
    words = yaml.safe_load(compose.read_text())["services"]["prometheus"]["command"]
    (kept,) = (re.fullmatch(r"--storage.tsdb.retention.time=(\d+)d", word) for word in words if "retention" in word)
    windows_d = [int(days) for _, query in QUERIES for days in re.findall(r"\[(\d+)d", query)]
    assert kept is not None
    assert int(kept[1]) >= max(windows_d) + 7


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_tells_installations_apart(rule: Rule) -> None:
    """By their namespace: beside one that is well, a sum or a maximum of both would hide an outage."""
    words = re.findall(r"\b(?:sum|max|min|count|avg|group)\s*(\(|by\s*\([^)]*\)|without\s*\([^)]*\))", rule["expr"])
    joins = re.findall(r"\bon\s*\(([^)]*)\)\s*(group_left|absent)?", rule["expr"])
    assert all(word.startswith("without") or "namespace" in word for word in words)
    assert all("namespace" in labels or kept for labels, kept in joins)


@pytest.mark.parametrize("path", sorted(DASHBOARDS.glob("*.json")), ids=lambda path: path.stem)
def test_a_dashboard_shows_one_installation(path: Path) -> None:
    """The one that is chosen; objectives have the same budget everywhere."""
    queries = [query for asker, query in load_panels() if asker.startswith(f"{path.stem}: ")]
    for query in queries:
        for name in metric_names(query) - {"brainmets:objective_budget:ratio"}:
            chosen = rf'(?<![\w:]){name}\b(?!:)(?!\{{[^}}]*namespace="\$namespace")'
            assert re.search(chosen, query) is None, query


def test_jobs_are_those_that_are_scraped() -> None:
    """Rules and panels know a process by its job's name."""
    scraped = {
        job["job_name"] for job in yaml.safe_load((PROMETHEUS / "prometheus.yaml").read_text())["scrape_configs"]
    }
    patterns = {match for _, query in QUERIES for match in re.findall(r"\bjob\s*=~?\s*[\"']([^\"']*)[\"']", query)}
    assert patterns
    assert all(any(re.fullmatch(pattern, job) for job in scraped) for pattern in patterns)


def test_nothing_foreign_is_declared_in_vain() -> None:
    """The list stays short."""
    assert set.union(*(metric_names(query) for _, query in QUERIES)) >= FOREIGN


def test_names_are_told_from_words_labels_and_functions() -> None:
    """The reader of queries is read itself."""
    query = 'sum by (le) (rate(a_bucket{le="b", c=~"d|e"}[5m])) / on () group_left f:g:h offset 1h > $price * 1e3 or up'
    assert metric_names(query) == {"a_bucket", "f:g:h", "up"}
    assert set(asked_values(query)) == {("le", "b"), ("c", "d"), ("c", "e")}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_tells_what_it_means_and_where_to_read_on(name: str) -> None:
    """Severity, summary, description, and a section of the runbooks."""
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"{RUNBOOKS}#{name.lower()}"
    section = re.search(
        rf"^## {name}\n\n\*{alert['labels']['severity']}\.\*(.+?)(?=^## |\Z)", runbooks(), re.MULTILINE | re.DOTALL
    )
    assert section is not None
    assert "- Look:" in section[1]
    assert "- Do:" in section[1]


def test_runbooks_know_no_alert_that_is_gone() -> None:
    """Every section but the objectives' is an alert's."""
    assert set(re.findall(r"^## (.+)$", runbooks(), re.MULTILINE)) == {*ALERTS, "The objectives"}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_tells_nothing_of_a_patient(name: str) -> None:
    """It fills in its value and names of processes, volumes and objectives, and nothing else."""
    filled = re.findall(r"\$(?:labels\.)?(\w+)", json.dumps(ALERTS[name]["annotations"]))
    assert set(filled) <= {"value", "job", "instance", "objective", "dependency", "model", "persistentvolumeclaim"}


def test_alerts_on_what_the_cluster_has_to_scrape_say_so() -> None:
    """Where kubelets or kube-state-metrics are not scraped they are silent, and nothing else tells."""
    silent = {name for name, alert in ALERTS.items() if re.search("kubelet_|canary", alert["expr"])}
    assert silent == {"VolumeFull", "VolumeFilling", "CanaryFailed", "CanarySilent"}
    cluster = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    for name in silent:
        section = runbooks().partition(f"## {name}\n")[2].partition("\n- Look:")[0]
        assert "(kubernetes.md#what-prometheus-scrapes)" in section
        assert f"[{name}](runbooks.md#{name.lower()})" in cluster


def test_open_uploads_are_told_before_they_are_refused() -> None:
    """At four fifths of what the API takes unless it is told otherwise."""
    limit = ApiSettings.model_fields["max_open_uploads"].default
    assert ALERTS["UploadsNearLimit"]["expr"] == f"brainmets:uploads_open:max > {limit * 4 // 5}"


def test_inhibition_and_routing_name_alerts_that_exist() -> None:
    """A name that is gone would inhibit nothing."""
    config = yaml.safe_load((PROMETHEUS / "alertmanager.yaml").read_text())
    for rule in config["inhibit_rules"]:
        # What another installation has lost is no reason for silence in this one.
        assert "namespace" in rule.get("equal", ())
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            pattern = re.search(r'^alertname=~?"(.+)"$', matcher)
            assert pattern is not None
            assert all(any(re.fullmatch(each, name) for name in ALERTS) for each in pattern[1].split("|"))
    assert {route["receiver"] for route in (config["route"], *config["route"]["routes"])} == {"page", "ticket"}


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_is_tried(name: str) -> None:
    """By name or by a pattern, in a test of promtool."""
    texts = "".join(path.read_text() for path in (PROMETHEUS / "tests").glob("*.yaml"))
    fired = set(re.findall(r'alertname="(\w+)"', texts)) | set(re.findall(r"- alertname: (\w+)", texts))
    assert name in fired


def test_prometheus_takes_configuration_and_rules() -> None:
    """As promtool says."""
    promtool("check", "config", "prometheus.yaml")


@pytest.mark.parametrize("path", sorted((PROMETHEUS / "tests").glob("*.yaml")), ids=lambda path: path.stem)
def test_alerts_fire_when_they_should(path: Path) -> None:
    """And are silent when they should be."""
    promtool("test", "rules", f"tests/{path.name}")


@pytest.mark.parametrize("path", sorted(DASHBOARDS.glob("*.json")), ids=lambda path: path.stem)
def test_prometheus_takes_what_panels_ask(path: Path, tmp_path: Path) -> None:
    """Each query of a dashboard as if it were a rule, with Grafana's variables filled in."""
    queries = [query for asker, query in load_panels() if asker.startswith(f"{path.stem}: ")]
    filled = [re.sub(r"\$\w+", "1", query.replace("$__rate_interval", "5m")) for query in queries]
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(filled)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": path.stem, "rules": rules}]}))
    promtool("check", "rules", str(tmp_path / "rules.yaml"))


@pytest.mark.parametrize("path", sorted(DASHBOARDS.glob("*.json")), ids=lambda path: path.stem)
def test_panels_do_not_overlap(path: Path) -> None:
    """Each cell of the grid belongs to one panel, and each panel has a number of its own."""
    panels = json.loads(path.read_text())["panels"]
    places = [panel["gridPos"] for panel in panels]
    cells = [
        (column, line)
        for place in places
        for column in range(place["x"], place["x"] + place["w"])
        for line in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in panels}) == len(panels)


# The older schema is what every Grafana from 10 on reads from a file.
@pytest.mark.filterwarnings("ignore:Prefer using dashboardv2:DeprecationWarning")
def test_dashboards_are_those_that_their_code_makes() -> None:
    """What is committed is what is generated, no more and no less."""
    # Not above: importing it warns, and only this test knows of it.
    code = importlib.import_module("monitoring.grafana.dashboards")
    made = {f"{name}.json": code.render(name) for name in code.DASHBOARDS}
    assert made == {path.name: path.read_text(encoding="utf-8") for path in DASHBOARDS.iterdir()}


def runbooks() -> str:
    """Return the runbooks' text."""
    return (ROOT / RUNBOOKS).read_text(encoding="utf-8")


def promtool(*words: str) -> None:
    """Run promtool in Prometheus' folder; it must be content."""
    path = find_debian_tool("promtool", package="prometheus")
    outcome = subprocess.run([path, *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False, timeout=120)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
