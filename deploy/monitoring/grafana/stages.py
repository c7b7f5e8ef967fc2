"""Owns the dashboard of stages: where a study's time goes."""

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from monitoring.grafana.panels import Panel, build_dashboard, build_graph

WORKER, PREPARATION = "brainmets_worker_stage_duration_seconds", "brainmets_preprocessing_stage_duration_seconds"


def stages() -> Dashboard:
    """Where a study's time goes."""
    return build_dashboard(
        "stages",
        "stages",
        description="Where a study's time goes.",
        panels=[
            *_worker(),
            *_preprocessing(),
        ],
    )


def _worker() -> list[Panel]:
    return [
        Row("Worker"),
        build_graph("Mean of a stage", "s", {"{{stage}}": _mean(WORKER, "stage")}, stacked=True),
        build_graph("95 % of a stage", "s", {"{{stage}}": f"stage:{WORKER}:p95_1h"}),
        build_graph(
            "95 % of a tile",
            "s",
            {
                "{{model}}": "histogram_quantile(0.95, sum by (le, model) "
                "(rate(brainmets_worker_tile_duration_seconds_bucket[1h])))"
            },
            note="From sending a tile to its probability, waiting included.",
        ),
        build_graph(
            "Calls that the worker makes, other than OK",
            "short",
            {"{{method}} {{code}}": 'sum by (method, code) (increase(brainmets_worker_rpcs_total{code!="OK"}[1h]))'},
        ),
    ]


def _preprocessing() -> list[Panel]:
    return [
        Row("Preprocessing"),
        build_graph(
            "Mean of a step",
            "s",
            {"{{stage}}": _mean(PREPARATION, "stage")},
            note="Of stream, one tile.",
            stacked=True,
        ),
        build_graph("95 % of a step", "s", {"{{stage}}": f"stage:{PREPARATION}:p95_1h"}),
        build_graph("Studies under way", "short", {"studies": "sum(brainmets_preprocessing_studies_active)"}),
        build_graph(
            "Decoders replaced",
            "short",
            {"decoders": "sum(increase(brainmets_preprocessing_decoders_discarded_total[1h]))"},
            note="They refused a study, broke on one, or were stopped.",
        ),
    ]


def _mean(histogram: str, label: str) -> str:
    return f"sum by ({label}) (rate({histogram}_sum[1h])) / sum by ({label}) (rate({histogram}_count[1h]))"
