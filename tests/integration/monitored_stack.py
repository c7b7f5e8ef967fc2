"""Owns a real Prometheus, Alertmanager and Redis exporter that watch a running stack, with the committed files.

What is committed runs unchanged but for this, so that a test takes seconds where an operator would wait for minutes:

- targets are the stack's ports on loopback, receivers are none;
- everything is scraped and evaluated once a second, also the groups with an `interval` of their own;
- time runs `LAPSE` times as fast in alerts: each `for:` is divided by it, and what tells for how long a study has
  waited (`*oldest_age_seconds*`) is multiplied by it. Ranges such as [15m] stay: less than that has happened.
"""

import json
import re
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from math import isfinite
from pathlib import Path
from typing import Any, Self

import yaml

from debian_tool import find_debian_tool
from integration.running_stack import RunningStack, wait_until
from local.layout import DEBIAN
from local.ports import HOST

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
PROMETHEUS = MONITORING / "prometheus"
DASHBOARDS = MONITORING / "grafana" / "dashboards"
# Where Debian's build looks for its template, and no option names another place.
ALERTMANAGER_SHARE = Path("/usr/share/prometheus/alertmanager")
LAPSE = 60.0
SCRAPE_S = 1.0
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WAITED = re.compile(r"[\w:]*oldest_age_seconds[\w:]*(?:\{[^}]*\})?")
# What Grafana fills in by itself, as for a panel of the last hour.
_GRAFANA = {"__rate_interval": "10m", "__interval": "15s", "__range": "1h"}

Document = dict[str, Any]  # Any: YAML, JSON


class MonitoredStack:
    """Prometheus, Alertmanager and the exporter of one stack's Redis. Use as a context manager."""

    def __init__(self, stack: RunningStack, folder: Path) -> None:
        self._folder = folder
        self._exit = ExitStack()
        self._prometheus, self._alertmanager, exporter = (_free_port() for _ in range(3))
        ports = stack.place.ports
        self._targets = {
            "brainmets-api": ports.api_metrics,
            "brainmets-worker": ports.worker_metrics,
            "brainmets-preprocessing": ports.preprocessing_metrics,
            "brainmets-triton": ports.triton_metrics,
            "brainmets-redis": exporter,
        }
        self._exporter_words = (
            f"--web.listen-address={HOST}:{exporter}",
            f"--redis.addr=redis://{HOST}:{ports.redis}",
        )

    def __enter__(self) -> Self:
        """Start all three and wait until they answer."""
        with self._exit:
            self._write_files()
            exporter = find_debian_tool("prometheus-redis-exporter", package="prometheus-redis-exporter")
            self._start(exporter, *self._exporter_words)
            self._start(
                find_alertmanager(self._folder),
                f"--config.file={self._folder / 'alertmanager.yaml'}",
                f"--storage.path={self._folder / 'alertmanager'}",
                f"--web.listen-address={HOST}:{self._alertmanager}",
                "--cluster.listen-address=",
            )
            self._start(
                find_debian_tool("prometheus", package="prometheus"),
                f"--config.file={self._folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={self._folder / 'prometheus'}",
                f"--web.listen-address={HOST}:{self._prometheus}",
            )
            for port in (self._prometheus, self._alertmanager):
                wait_until(lambda port=port: _answers(port), timeout_s=START_TIMEOUT_S)
            # Kept only when all went well.
            self._exit = self._exit.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop all three."""
        self._exit.close()

    def ask(self, query: str) -> list[Document]:
        """Return the series of an instant query that have a value; 0/0 is none."""
        words = urllib.parse.urlencode({"query": query})
        answer = _read_json(f"http://{HOST}:{self._prometheus}/api/v1/query?{words}")
        result = answer["data"]["result"]
        if answer["data"]["resultType"] == "scalar":
            return [{"value": result}]
        return [series for series in result if isfinite(float(series["value"][1]))]

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire in Prometheus."""
        return {series["metric"]["alertname"] for series in self.ask('ALERTS{alertstate="firing"}')}

    def notified(self) -> dict[str, tuple[str, str]]:
        """Return what Alertmanager makes of each alert: active or suppressed, and who is told."""
        alerts: Any = _read_json(f"http://{HOST}:{self._alertmanager}/api/v2/alerts")  # Any: JSON, a list here
        return {
            alert["labels"]["alertname"]: (alert["status"]["state"], alert["receivers"][0]["name"]) for alert in alerts
        }

    def _start(self, program: str, *words: str) -> None:
        log = self._exit.enter_context((self._folder / f"{Path(program).name}.log").open("wb"))
        process = subprocess.Popen(
            [program, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder
        )
        self._exit.callback(_stop, process)

    def _write_files(self) -> None:
        self._folder.mkdir(exist_ok=True)
        config = load("prometheus.yaml")
        rule_files = config["rule_files"]
        interval = f"{SCRAPE_S:g}s"
        config["global"] |= {
            "scrape_interval": interval,
            "evaluation_interval": interval,
            "scrape_timeout": interval,
        }
        config["alerting"] = {
            "alertmanagers": [{"static_configs": [{"targets": [f"{HOST}:{self._alertmanager}"]}]}],
        }
        config["scrape_configs"] = [retarget(job, self._targets) for job in config["scrape_configs"]]
        written = {"prometheus.yaml": config, "alertmanager.yaml": silence(load("alertmanager.yaml"))}
        written |= {name: accelerate(load(name)) for name in rule_files}
        for name, document in written.items():
            (self._folder / name).write_text(yaml.safe_dump(document))


def find_alertmanager(folder: Path) -> str:
    """Return Alertmanager's path: Debian's where it is installed, else a copy that finds its template in its package.

    The copy looks for it below the folder, in which it has to run: `usr//share` is as long as `/usr/share`.
    """
    program = find_debian_tool("prometheus-alertmanager", package="prometheus-alertmanager")
    if ALERTMANAGER_SHARE.exists():
        return program
    (folder / "usr").symlink_to(DEBIAN / "root" / "usr")
    sought = bytes(ALERTMANAGER_SHARE)
    copy = folder / "alertmanager-copy"
    copy.write_bytes(Path(program).read_bytes().replace(sought, sought[1:].replace(b"/", b"//", 1)))
    copy.chmod(0o755)
    return str(copy)


def load(name: str) -> Document:
    """Return one of Prometheus' committed files."""
    document: Document = yaml.safe_load((PROMETHEUS / name).read_text())
    return document


def retarget(job: Document, targets: Mapping[str, int]) -> Document:
    """Return a scrape job whose targets are a port on loopback, however it discovers them where it is deployed."""
    kept = {key: setting for key, setting in job.items() if not key.endswith("_sd_configs") and key != "static_configs"}
    return {**kept, "static_configs": [{"targets": [f"{HOST}:{targets[job['job_name']]}"]}]}


def silence(config: Document) -> Document:
    """Return Alertmanager's configuration with receivers that tell nobody, and no waiting before they would."""
    return {
        **config,
        "route": {**config["route"], "group_wait": "0s", "group_interval": "1s"},
        "receivers": [{"name": receiver["name"]} for receiver in config["receivers"]],
    }


def accelerate(rules: Document) -> Document:
    """Return a file of rules in which time runs faster, as this module says."""
    return {
        "groups": [{"name": group["name"], "rules": list(map(_hasten, group["rules"]))} for group in rules["groups"]]
    }


def _hasten(rule: Document) -> Document:
    if "alert" not in rule:
        return rule
    hastened = {**rule, "expr": _WAITED.sub(lambda name: f"({LAPSE:g} * {name[0]})", rule["expr"])}
    if "for" in rule:
        hastened["for"] = f"{max(1, round(seconds_of(rule['for']) / LAPSE))}s"
    return hastened


def seconds_of(duration: str) -> float:
    """Return a duration of Prometheus in seconds: 1h30m is 5400."""
    return sum(float(number) * _UNITS_S[unit] for number, unit in re.findall(r"(\d+)([smhd])", duration))


def load_panels() -> dict[str, str]:
    """Return the queries of all dashboards, with their variables filled in, by dashboard, panel and number."""
    queries = {}
    for path in sorted(DASHBOARDS.glob("*.json")):
        dashboard = json.loads(path.read_text())
        variables = dashboard.get("templating", {}).get("list", ())
        chosen = {each["name"]: str(each.get("current", {}).get("value", each.get("query"))) for each in variables}
        for panel in dashboard["panels"]:
            for number, target in enumerate(panel.get("targets", ())):
                queries[f"{path.stem}: {panel['title']} ({number})"] = fill(target["expr"], chosen | _GRAFANA)
    return queries


def fill(query: str, variables: Mapping[str, str]) -> str:
    """Return a query with Grafana's variables filled in.

    Raises:
        KeyError: It names one that the dashboard does not have.
    """
    return re.sub(r"\$\{?(\w+)\}?", lambda name: variables[name[1]], query)


def load_alerts() -> dict[str, Document]:
    """Return all committed alerts by name."""
    files = [load(name) for name in load("prometheus.yaml")["rule_files"]]
    rules = [rule for file in files for group in file["groups"] for rule in group["rules"]]
    return {rule["alert"]: rule for rule in rules if "alert" in rule}


def find_selectors(query: str) -> set[str]:
    """Return the series that a query selects, each with its matchers and without a range."""
    bare = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right)\b\s*(?:\([^)]*\))?", " ", query)
    found = re.findall(r"(?<![\w:$\"'])[a-zA-Z_:][\w:]*(?:\s*\{[^}]*\})?(?![\w:]*\s*\()", _without_words(bare))
    return {selector for selector in found if "_" in selector or selector.startswith(("up", "ALERTS"))}


def _without_words(query: str) -> str:
    """Return a query without functions, operators and ranges."""
    query = re.sub(r"\[[^\]]*\]", " ", query)
    return re.sub(r"\b(?:and|or|unless|bool|offset)\b", " ", re.sub(r"[a-z_]\w*\s*\((?![^{]*\})", "(", query))


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/-/ready", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _read_json(url: str) -> Document:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 -- http on loopback
        document: Document = json.load(answer)
        return document


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
