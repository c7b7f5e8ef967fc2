"""Owns the dashboard of the queue and Redis: what waits, and how Redis fares that holds it."""

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from monitoring.grafana.panels import Panel, build_dashboard, build_figure, build_graph


def queue() -> Dashboard:
    """What waits, and how Redis fares that holds it."""
    return build_dashboard(
        "queue",
        "queue and Redis",
        description="What waits, and how Redis fares that holds it.",
        panels=[
            *_queue(),
            *_redis(),
            *_volumes(),
        ],
    )


def _queue() -> list[Panel]:
    return [
        Row("Queue"),
        build_graph(
            "Jobs",
            "short",
            {"queued": "brainmets:jobs_queued:max", "running": "brainmets:jobs_running:max"},
            note="While Redis does not answer, nothing is told.",
        ),
        build_graph(
            "Oldest study that waits",
            "s",
            {"age": "brainmets:queue_oldest_age_seconds:max"},
            note="Tickets from 2 minutes, pages from 5.",
        ),
        build_graph(
            "Accepted and ended",
            "short",
            {
                "accepted": "increase(brainmets:jobs_accepted:max[1h])",
                "ended": "sum(increase(brainmets:jobs_ended:max[1h]))",
            },
            note="Each point counts the hour before it. Over a longer time both are alike, or jobs get lost.",
        ),
        build_graph(
            "Uploads that are open",
            "short",
            {"open": "brainmets:uploads_open:max"},
            note="No jobs yet, abandoned ones included. At BRAINMETS_MAX_OPEN_UPLOADS every study is refused.",
        ),
        build_graph(
            "Erasure that is overdue",
            "s",
            {"for": "brainmets:erasure_oldest_overdue_seconds:max"},
            note="Of the files that wait longest. More than an hour is a page.",
        ),
        build_graph(
            "Dependencies that answer",
            "percentunit",
            {
                "{{dependency}}": "avg by (dependency) "
                "(brainmets_gateway_dependency_up or brainmets_worker_dependency_up)"
            },
            note="Share of the API's and the workers' processes that have an answer.",
        ),
        build_figure(
            "Certificate",
            "s",
            {"valid for": "min(brainmets_gateway_certificate_expiry_timestamp_seconds) - time()"},
            note="The one that clients see. Tickets from 14 days, pages from one.",
            alarm_below=14 * 86400,
        ),
        build_graph(
            "Workers",
            "short",
            {"answering": 'sum(up{job="brainmets-worker"})', "busy": "brainmets:jobs_running:max"},
        ),
        build_graph(
            "Attempts that ended without an outcome",
            "short",
            {
                "{{outcome}}": "sum by (outcome) "
                '(increase(brainmets_worker_attempts_total{outcome=~"cancelled|released"}[1h]))'
            },
            note="Cancelled or lost their lease; given back by a worker that stops.",
        ),
    ]


def _redis() -> list[Panel]:
    return [
        Row("Redis"),
        build_figure("Answers", "bool_yes_no", {"{{instance}}": "redis_up{job='brainmets-redis'}"}, alarm_below=1),
        build_figure(
            "Append-only file on",
            "bool_yes_no",
            {"{{instance}}": "redis_aof_enabled{job='brainmets-redis'}"},
            alarm_below=1,
        ),
        build_figure(
            "Last write kept",
            "bool_yes_no",
            {"{{instance}}": "redis_aof_last_write_status{job='brainmets-redis'}"},
            alarm_below=1,
        ),
        build_figure(
            "Last rewrite kept",
            "bool_yes_no",
            {"{{instance}}": "redis_aof_last_bgrewrite_status{job='brainmets-redis'}"},
            alarm_below=1,
        ),
        build_graph(
            "Memory",
            "bytes",
            {
                "used": "redis_memory_used_bytes{job='brainmets-redis'}",
                "limit": "redis_memory_max_bytes{job='brainmets-redis'} > 0",
            },
            note="At the limit Redis refuses every write.",
        ),
        build_graph("Append-only file", "bytes", {"size": "redis_aof_current_size_bytes{job='brainmets-redis'}"}),
        build_graph(
            "Commands",
            "ops",
            {"commands": "rate(redis_commands_processed_total{job='brainmets-redis'}[$__rate_interval])"},
        ),
        build_graph(
            "Time of a command",
            "s",
            {
                "{{cmd}}": "rate(redis_commands_duration_seconds_total{job='brainmets-redis'}[$__rate_interval]) "
                "/ rate(redis_commands_total{job='brainmets-redis'}[$__rate_interval])"
            },
            note="Every change of a job is one script: evalsha.",
        ),
    ]


def _volumes() -> list[Panel]:
    return [
        Row("Volumes"),
        build_graph(
            "Room left",
            "percentunit",
            {"{{persistentvolumeclaim}}": "kubelet_volume_stats_available_bytes / kubelet_volume_stats_capacity_bytes"},
            note="Kubernetes only. Tickets below 15 %, pages below 5 %.",
        ),
    ]
