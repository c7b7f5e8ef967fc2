"""Owns docs/metrics.md: the metrics contract as a table. `PYTHONPATH=deploy python -m monitoring.metrics.page`."""

from collections.abc import Iterator
from pathlib import Path

from brainmets.runtime.metric_contract import METRICS, Metric, Service
from monitoring.metrics.registries import build_registry

PAGE = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"
# A label with more values is told by what they are.
MANY = 13
SETS = {"code": "gRPC status", "method": "RPC of the contract", "reason": "class of error"}
HEADING = """# Metrics

Made from [`runtime/metric_contract.py`](../services/brainmets/runtime/metric_contract.py) by `make dashboards`; do not
edit. Every process serves them at `/metrics`, in Prometheus' text format; [runbooks](runbooks.md) tells what alerts on
them mean.

- A label takes values of a closed set, and what is in no set is `other`. Nothing that a client sends is a label.
- Every series is there from the start at 0, so that its first event is a step that `rate()` sees; of calls
  (`*_rpcs_total`), those with the code OK.
- What a process tells of all jobs comes from Redis, and is the same from whichever process is asked: combine
  processes by `max`, never by `sum`. Those counters live as long as Redis' data, not as long as a process. While Redis
  does not answer a process tells none of them.
"""
SECTIONS = {
    Service.GATEWAY: "The gateway's API",
    Service.WORKER: "Worker",
    Service.PREPROCESSING: "Preprocessing",
}


def render_page() -> str:
    """Return the page."""
    return "\n".join((HEADING, *(_section(service) for service in Service)))


def _section(service: Service) -> str:
    values = _label_values(service)
    rows = [_row(metric, service, values) for metric in METRICS if service in metric.services]
    head = ("| metric | kind | labels | what |", "|---|---|---|---|")
    return "\n".join((f"## {SECTIONS[service]}", "", *head, *rows, ""))


def _row(metric: Metric, service: Service, values: dict[tuple[str, str], list[str]]) -> str:
    labels = "; ".join(_label(label, values[metric.name(service), label]) for label in metric.labels) or "none"
    buckets = f" Buckets: {', '.join(f'{bound:g}' for bound in metric.buckets)}." if metric.buckets else ""
    return f"| `{metric.name(service)}` | {metric.kind} | {labels} | {metric.text}{buckets} |"


def _label(label: str, values: list[str]) -> str:
    if label == "code" or (label in SETS and len(values) > MANY):
        return f"`{label}`: {SETS[label]}"
    return f"`{label}`: {', '.join(values)}"


def _label_values(service: Service) -> dict[tuple[str, str], list[str]]:
    """Return the values of each label of each metric that a service tells from its start."""
    values: dict[tuple[str, str], list[str]] = {}
    for name, label, value in _told(service):
        known = values.setdefault((name, label), [])
        if value not in known:
            known.append(value)
    return values


def _told(service: Service) -> Iterator[tuple[str, str, str]]:
    for family in build_registry(service).collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        for sample in family.samples:
            yield from ((name, label, value) for label, value in sample.labels.items())


if __name__ == "__main__":
    PAGE.write_text(render_page(), encoding="utf-8")
