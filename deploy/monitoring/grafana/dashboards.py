"""Owns which dashboards there are. `PYTHONPATH=deploy python -m monitoring.grafana.dashboards` writes them.

A hospital sends a few studies an hour: what counts studies looks back an hour or a day, what measures processes looks
back $__rate_interval. Prometheus' recording rules are used where there is one.
"""

import json
from collections.abc import Callable
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from monitoring.grafana.clinical import clinical
from monitoring.grafana.cost import cost
from monitoring.grafana.overview import overview
from monitoring.grafana.queue import queue
from monitoring.grafana.stages import stages
from monitoring.grafana.triton import triton

FOLDER = Path(__file__).parent / "dashboards"

DASHBOARDS: dict[str, Callable[[], Dashboard]] = {
    "overview": overview,
    "stages": stages,
    "triton": triton,
    "queue": queue,
    "clinical": clinical,
    "cost": cost,
}


def render(name: str) -> str:
    """Return a dashboard as the JSON that Grafana reads."""
    built = DASHBOARDS[name]().build()
    # Grafana would number them anew at each start, and links to a panel would go astray.
    for number, panel in enumerate(built.panels or [], start=1):
        panel.id_val = number
    return json.dumps(built, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(render(name), encoding="utf-8")
