"""Owns the overview: whether the service keeps its objectives, and what it does."""

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from monitoring.grafana.panels import Panel, build_dashboard, build_figure, build_graph


def overview() -> Dashboard:
    """Whether the service keeps its objectives, and what it does."""
    return build_dashboard(
        "overview",
        "overview",
        description="Objectives, throughput and turnaround.",
        panels=[
            *_objectives(),
            *_studies(),
        ],
    )


def _objectives() -> list[Panel]:
    return [
        Row("Objectives over 30 days"),
        build_figure(
            "Accept",
            "percentunit",
            {"served": '1 - brainmets:objective_misses:ratio30d{objective="accept"}'},
            note="Studies and uploads that are not refused by the service's fault. Objective: 99.9 %.",
            alarm_below=0.999,
        ),
        build_figure(
            "Turnaround within 5 minutes",
            "percentunit",
            {"in time": '1 - brainmets:objective_misses:ratio30d{objective="turnaround"}'},
            note="Jobs, from acceptance to their end, without those that clients cancelled. Objective: 99 %.",
            alarm_below=0.99,
        ),
        build_figure(
            "Budget left",
            "percentunit",
            {
                "{{objective}}": "1 - brainmets:objective_misses:ratio30d "
                "/ on (objective) brainmets:objective_budget:ratio"
            },
            note="Of the failures that the objectives allow in 30 days.",
            alarm_below=0,
        ),
        build_figure(
            "Jobs past their deadline",
            "short",
            {"jobs": "brainmets:jobs_overdue:max"},
            note="Every accepted job ends. A sweep ends these within seconds; more than a minute is a page.",
        ),
        build_figure(
            "Alerts",
            "short",
            {"{{severity}}": 'count by (severity) (ALERTS{alertstate="firing", severity=~"page|ticket"})'},
            note="Those that fire; docs/runbooks.md tells what to do.",
        ),
        build_figure(
            "Last right canary",
            "s",
            {"ago": "time() - brainmets:canary_succeeded_timestamp_seconds:max"},
            note="How long ago. Kubernetes only, with the component canary. More than an hour is a page.",
        ),
        build_graph(
            "Burn rate",
            "short",
            {
                "{{objective}}, 1 hour": "brainmets:objective_misses:ratio1h "
                "/ on (objective) brainmets:objective_budget:ratio",
                "{{objective}}, 6 hours": "brainmets:objective_misses:ratio6h "
                "/ on (objective) brainmets:objective_budget:ratio",
            },
            note="1 uses the budget up in exactly 30 days. Pages: 14.4 for an hour, or 6 for six hours.",
        ),
        build_graph(
            "Studies brought in, by code",
            "short",
            {"{{code}}": "sum by (code) (increase(brainmets_gateway_submissions_total[1h])) > 0"},
            note="OK is accepted. Each point counts the hour before it.",
        ),
    ]


def _studies() -> list[Panel]:
    return [
        Row("Studies"),
        build_graph(
            "Jobs that ended",
            "short",
            {"{{state}}": "sum by (state) (increase(brainmets:jobs_ended:max[1h]))"},
            note="Each point counts the hour before it, whoever ended them.",
        ),
        build_graph(
            "Studies that failed, by reason",
            "short",
            {
                "{{reason}}, {{phase}}": "sum by (reason, phase) "
                '(increase(brainmets:jobs_ended:max{state="failed"}[1h])) > 0'
            },
            note="Those that a deadline or used-up attempts ended as well; queued: no worker had them.",
        ),
        build_graph(
            "Turnaround",
            "s",
            {
                f"{share:.0%}": f"histogram_quantile({share}, sum by (le) "
                '(rate(brainmets:job_turnaround_seconds_bucket:max{state!="cancelled"}[1h])))'
                for share in (0.5, 0.95, 0.99)
            },
            note="From a job's acceptance to its end, by Redis' clock.",
        ),
        build_graph(
            "Jobs",
            "short",
            {"queued": "brainmets:jobs_queued:max", "running": "brainmets:jobs_running:max"},
        ),
    ]
