"""Owns how a panel and a dashboard look; what they ask is in the six modules beside it."""

import re
from collections.abc import Sequence

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, text, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import DataSourceRef, GraphDrawStyle, LegendDisplayMode, StackingMode
from grafana_foundation_sdk.models.dashboard import DashboardLinkType, Threshold, VariableOption, VariableRefresh
from grafana_foundation_sdk.models.text import TextMode

# Chosen on the dashboard; the provisioned data source is the first one.
DATA_SOURCE = DataSourceRef("prometheus", "${datasource}")
# Grafana's grid has 24 columns.
GRAPH_WIDTH, GRAPH_HEIGHT = 12, 8
FIGURE_WIDTH, FIGURE_HEIGHT = 6, 4
NOTE_HEIGHT = 5
COLUMNS = 24
# Of the installation that is chosen on the dashboard. Where Prometheus knows no namespaces there is none to choose, and
# an empty one selects what has none.
INSTALLATION = 'namespace="$namespace"'
# One for all of them.
BUDGET = "brainmets:objective_budget:ratio"
_SELECTOR = re.compile(
    r"(?<![\w:])((?:[a-z_]+:)?(?:brainmets|process|redis|nv|kubelet)[_:][\w:]+|up|ALERTS)(?![\w:(])(?:\{([^}]*)\})?"
)

Panel = timeseries.Panel | stat.Panel | bargauge.Panel | text.Panel | dashboard.Row
Price = dashboard.TextBoxVariable
# What a panel asks, by the legend of its answer; Grafana fills {{label}} in.
Queries = dict[str, str]


def build_graph(title: str, unit: str, queries: Queries, *, note: str = "", stacked: bool = False) -> timeseries.Panel:
    """Return lines over time."""
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.TABLE).calcs(["lastNotNull", "max"])
    panel = (
        timeseries.Panel()
        .title(title)
        .description(note)
        .unit(unit)
        .min(0)
        .fill_opacity(10)
        .legend(legend.show_legend(True))
        .datasource(DATA_SOURCE)
        .span(GRAPH_WIDTH)
        .height(GRAPH_HEIGHT)
        .targets(_targets(queries))
    )
    if stacked:
        panel.draw_style(GraphDrawStyle.BARS).stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    return panel


def build_figure(
    title: str, unit: str, queries: Queries, *, note: str = "", alarm_below: float | None = None
) -> stat.Panel:
    """Return the newest value as a number, red below a limit where there is one."""
    steps = [Threshold(None, "text")]
    if alarm_below is not None:
        steps = [Threshold(None, "red"), Threshold(alarm_below, "green")]
    return (
        stat.Panel()
        .title(title)
        .description(note)
        .unit(unit)
        .thresholds(dashboard.ThresholdsConfig().steps(steps))
        .no_value("no data")
        .datasource(DATA_SOURCE)
        .span(FIGURE_WIDTH)
        .height(FIGURE_HEIGHT)
        .targets(_targets(queries))
    )


def build_bars(title: str, unit: str, queries: Queries) -> bargauge.Panel:
    """Return the newest values as bars beside each other."""
    return (
        bargauge.Panel()
        .title(title)
        .unit(unit)
        .min(0)
        .no_value("no data")
        .datasource(DATA_SOURCE)
        .span(GRAPH_WIDTH)
        .height(GRAPH_HEIGHT)
        .targets(_targets(queries))
    )


def build_note(markdown: str) -> text.Panel:
    """Return a text over the whole width."""
    return text.Panel().mode(TextMode.MARKDOWN).content(markdown).span(COLUMNS).height(NOTE_HEIGHT)


def build_dashboard(
    name: str, title: str, *, description: str, panels: Sequence[Panel], prices: Sequence[Price] = ()
) -> dashboard.Dashboard:
    """Return a dashboard, linked to all others."""
    others = dashboard.DashboardLink("brainmets").type(DashboardLinkType.DASHBOARDS).tags(["brainmets"])
    board = (
        dashboard.Dashboard(f"brainmets: {title}")
        .uid(f"brainmets-{name}")
        .description(f"{description} Research use only. Not for diagnosis.")
        .tags(["brainmets"])
        .time("now-24h", "now")
        .refresh("1m")
        .timezone("browser")
        .readonly()
        .link(others.as_dropdown(True).keep_time(True))
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_installation())
    )
    for price in prices:
        board.with_variable(price)
    for panel in panels:
        if isinstance(panel, dashboard.Row):
            board.with_row(panel)
        else:
            board.with_panel(panel)
    return board


def build_price(name: str, label: str, default: str) -> Price:
    """Return a price that whoever looks types in."""
    return (
        dashboard.TextBoxVariable(name)
        .label(label)
        .default_value(default)
        .current(VariableOption(selected=True, text=default, value=default))
    )


def _installation() -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable("namespace")
        .label("Installation")
        .datasource(DATA_SOURCE)
        .query('label_values(up{job=~"brainmets-.+"}, namespace)')
        .refresh(VariableRefresh.ON_DASHBOARD_LOAD)
        .current(VariableOption(selected=True, text="", value=""))
    )


def choose_installation(query: str) -> str:
    """Return a query of the chosen installation: with its namespace in each selector."""

    def choose(found: re.Match[str]) -> str:
        matchers = ", ".join(filter(None, (INSTALLATION, found[2])))
        return found[0] if found[1] == BUDGET else f"{found[1]}{{{matchers}}}"

    return _SELECTOR.sub(choose, query)


def _targets(queries: Queries) -> list[Builder[Dataquery]]:
    return [
        prometheus.Dataquery().expr(choose_installation(expression)).legend_format(legend).ref_id(chr(ord("A") + index))
        for index, (legend, expression) in enumerate(queries.items())
    ]
