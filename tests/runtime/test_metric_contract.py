"""Declarations are complete, and follow the house's rules for names."""

import re

import pytest

from brainmets.runtime.metric_contract import METRICS, Kind, Metric, Service

NAMES = [metric.name(service) for metric in METRICS for service in metric.services]


def test_each_name_is_declared_once() -> None:
    """In all services together."""
    assert len(NAMES) == len(set(NAMES)) > 0


@pytest.mark.parametrize("name", NAMES)
def test_names_say_whose_and_in_which_unit(name: str) -> None:
    """Base units; lengths in mm and volumes in mm3, as everywhere in this house."""
    assert re.fullmatch(rf"brainmets_({'|'.join(Service)})_[a-z_]+(_mm3)?", name)
    assert not re.search(r"_(ms|milliseconds|kb|mb|percent|minutes)\b", name)


@pytest.mark.parametrize("metric", METRICS, ids=[metric.thing for metric in METRICS])
def test_a_declaration_is_complete(metric: Metric) -> None:
    """A sentence, and rising buckets where they are needed and nowhere else."""
    assert re.fullmatch(r"(?s)[1A-Z].+\.", metric.text)
    assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
    assert list(metric.buckets) == sorted(set(metric.buckets))


@pytest.mark.parametrize("metric", METRICS, ids=[metric.thing for metric in METRICS])
def test_no_label_is_a_client_s_or_a_study_s(metric: Metric) -> None:
    """Each is a closed set of ours."""
    closed = {
        "method",
        "code",
        "state",
        "reason",
        "phase",
        "dependency",
        "outcome",
        "stage",
        "model",
        "finding",
        "severity",
    }
    assert set(metric.labels) <= closed
