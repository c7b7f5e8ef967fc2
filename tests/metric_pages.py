"""Owns how tests read what a process tells Prometheus, and what the contract says of it."""

import re
from dataclasses import dataclass
from urllib.request import Request, urlopen

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from brainmets.runtime.metric_contract import METRICS, Kind, Service
from monitoring.metrics.registries import build_registry


@dataclass(frozen=True)
class ToldMetric:
    """A metric as it is told: its kind, each value of each label, and the bounds of its buckets."""

    kind: str
    labels: frozenset[tuple[str, str]]
    bounds: frozenset[float]


Page = dict[str, ToldMetric]


def parse_page(text: str) -> Page:
    """Return our own metrics of a page by the name that a query spells."""
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: ToldMetric(
            family.type,
            frozenset(item for sample in family.samples for item in sample.labels.items() if item[0] != "le"),
            frozenset(float(sample.labels["le"]) for sample in family.samples if "le" in sample.labels),
        )
        for family in text_string_to_metric_families(text)
        # The library adds to each counter and histogram when it was made.
        if family.name.startswith("brainmets_") and family.samples and not family.name.endswith("_created")
    }


def read_page(address: str) -> Page:
    """Return what a running process tells."""
    with urlopen(f"http://{address}/metrics", timeout=30) as answer:
        return parse_page(answer.read().decode())


def pointing(told: CollectorRegistry | str, trace_id: str) -> set[str]:
    """Return the histograms that point to a trace, each with what its series is of.

    Args:
        told: What is told, or the host:port of the process that tells it; exemplars are in no older format than
            OpenMetrics.
        trace_id: W3C's, hexadecimal.
    """
    text = _fetch_openmetrics(told) if isinstance(told, str) else openmetrics.generate_latest(told).decode()
    marked = [line.partition(" # ")[0] for line in text.splitlines() if f'{{trace_id="{trace_id}"}}' in line]
    return {re.sub(r'_bucket{.*(?:stage|model|method)="(\w+)".*', r" \1", line) for line in marked}


def _fetch_openmetrics(address: str) -> str:
    request = Request(f"http://{address}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    with urlopen(request, timeout=30) as answer:  # noqa: S310 -- http on loopback
        return str(answer.read().decode())


def built_page(service: Service) -> Page:
    """Return what a process of a service must tell once it runs, and nothing else."""
    return parse_page(generate_latest(build_registry(service)).decode())


def contract_of(service: Service) -> dict[str, tuple[str, set[str], set[float]]]:
    """Return kind, labels and bounds that are declared for a service's metrics."""
    return {
        metric.name(service): (
            metric.kind,
            set(metric.labels),
            {*metric.buckets, float("inf")} if metric.kind is Kind.HISTOGRAM else set(),
        )
        for metric in METRICS
        if service in metric.services
    }
