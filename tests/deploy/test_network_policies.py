"""Who reaches whom is computed as the specification of network policies says."""

from collections.abc import Iterable
from typing import Any

import pytest

from network_policies import Endpoint, Port, find_edges

CALLER = Endpoint("caller", "ours", {"app": "caller"})
SERVER = Endpoint("server", "ours", {"app": "server"}, (Port(80, "http"), Port(90, "metrics")))
NAMESAKE = Endpoint("namesake", "theirs", {"app": "caller"})
EVERYBODY = {(name, "server", port, "TCP") for name in ("caller", "namesake") for port in (80, 90)}


def reach(*policies: dict[str, Any]) -> set[Any]:
    """Return the edges between the three under policies of our namespace."""
    return find_edges(
        (CALLER, SERVER, NAMESAKE), [{"metadata": {"namespace": "ours"}, "spec": spec} for spec in policies]
    )


def let_in(source: dict[str, Any], ports: Iterable[dict[str, Any]] = ({"port": 80},)) -> dict[str, Any]:
    """Return a policy of the server."""
    return {
        "podSelector": {"matchLabels": {"app": "server"}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [source], "ports": list(ports)}],
    }


def test_without_policies_everybody_reaches_everybody() -> None:
    """What no policy selects is open."""
    assert reach() == EVERYBODY


@pytest.mark.parametrize("direction", ["Ingress", "Egress"])
def test_a_policy_without_rules_closes(direction: str) -> None:
    """What comes in, or what goes out of the namespace that it is in."""
    closed = reach({"podSelector": {}, "policyTypes": [direction]})
    assert closed == ({edge for edge in EVERYBODY if edge[0] == "namesake"} if direction == "Egress" else set())


def test_pods_are_those_of_the_policy_s_namespace() -> None:
    """The same labels elsewhere are somebody else."""
    assert reach(let_in({"podSelector": {"matchLabels": {"app": "caller"}}})) == {("caller", "server", 80, "TCP")}


def test_another_namespace_is_named() -> None:
    """By its name, which Kubernetes keeps as a label."""
    theirs = {"matchLabels": {"kubernetes.io/metadata.name": "theirs"}}
    assert reach(let_in({"namespaceSelector": theirs})) == {("namesake", "server", 80, "TCP")}


def test_a_port_may_be_named() -> None:
    """As the pod names it."""
    found = reach(let_in({"podSelector": {}}, [{"port": "metrics"}]))
    assert found == {("caller", "server", 90, "TCP")}


def test_both_ends_have_to_allow_it() -> None:
    """Being let in is not enough for one that may not go out."""
    silent = {"podSelector": {"matchLabels": {"app": "caller"}}, "policyTypes": ["Egress"]}
    assert reach(let_in({"podSelector": {}}), silent) == set()


def test_policies_add_up() -> None:
    """One that closes takes nothing back from one that opens."""
    closing = {"podSelector": {}, "policyTypes": ["Ingress"]}
    assert reach(closing, let_in({"podSelector": {}})) == {("caller", "server", 80, "TCP")}
