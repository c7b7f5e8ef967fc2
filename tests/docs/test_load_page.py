"""docs/load.md says what k6 wrote."""

import json

from load.study_load import ROOT, figures

REPORT = ROOT / "docs" / "figures" / "load.json"


def test_the_page_has_the_row_of_the_kept_report() -> None:
    """`build/load.json` of a `make load`, as it was written."""
    report = json.loads(REPORT.read_text())
    page = (ROOT / "docs" / "load.md").read_text(encoding="utf-8")
    assert f"| {' | '.join(figures(report))} |" in page
    assert report["date"] in page
    assert f"{report['load_average_before']:g} processes" in page
