"""The page of metrics is the contract, and what the processes tell is on it."""

import pytest

from brainmets.runtime.metric_contract import Service
from metric_pages import built_page, contract_of
from monitoring.metrics.page import PAGE, render_page


@pytest.mark.parametrize("service", Service)
def test_a_service_tells_what_is_declared(service: Service) -> None:
    """No metric, no label and no bucket is missing, renamed or new without its declaration."""
    told = {
        name: (metric.kind, {label for label, _ in metric.labels}, set(metric.bounds))
        for name, metric in built_page(service).items()
    }
    assert told == contract_of(service)


def test_the_page_is_what_its_code_makes() -> None:
    """What is committed is what is generated (make dashboards)."""
    assert PAGE.read_text(encoding="utf-8") == render_page()
