"""Owns who reaches whom under a set of Kubernetes network policies, as their specification says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Rules = Mapping[str, Any]  # Any: a part of a NetworkPolicy


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a pod listens on."""

    number: int
    name: str = ""
    protocol: str = "TCP"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A pod, seen by policies.

    Attributes:
        name: What a test calls it.
        namespace: Name of its namespace.
        labels: Its labels.
        ports: Where it listens.
        namespace_labels: Labels of its namespace, beside its name.
    """

    name: str
    namespace: str
    labels: Mapping[str, str]
    ports: tuple[Port, ...] = ()
    namespace_labels: Mapping[str, str] = field(default_factory=dict)


Edge = tuple[str, str, int, str]
"""Source, target, port and protocol."""


def find_edges(endpoints: Iterable[Endpoint], policies: Iterable[Rules]) -> set[Edge]:
    """Return every connection between two endpoints that the policies of both ends allow."""
    endpoints, policies = tuple(endpoints), tuple(policies)
    return {
        (source.name, target.name, port.number, port.protocol)
        for source in endpoints
        for target in endpoints
        for port in target.ports
        if source is not target
        and _allows("Egress", policies, whose=source, source=source, target=target, port=port)
        and _allows("Ingress", policies, whose=target, source=source, target=target, port=port)
    }


def _allows(
    direction: str, policies: Iterable[Rules], *, whose: Endpoint, source: Endpoint, target: Endpoint, port: Port
) -> bool:
    mine = [policy for policy in policies if _applies(policy, whose, direction)]
    if not mine:
        return True
    peer, key = (target, "to") if direction == "Egress" else (source, "from")
    return any(
        _names_peer(rule.get(key), peer, policy["metadata"]["namespace"]) and _names_port(rule.get("ports"), port)
        for policy in mine
        for rule in policy["spec"].get(direction.lower(), ())
    )


def _applies(policy: Rules, endpoint: Endpoint, direction: str) -> bool:
    spec = policy["spec"]
    return (
        policy["metadata"]["namespace"] == endpoint.namespace
        and direction in spec["policyTypes"]
        and _selects(spec["podSelector"], endpoint.labels)
    )


def _names_peer(peers: Iterable[Rules] | None, endpoint: Endpoint, namespace: str) -> bool:
    # No list is everybody; an empty one is nobody here and everybody to Kubernetes, so that it is refused.
    if peers is None:
        return True
    assert peers
    return any(_is_peer(peer, endpoint, namespace) for peer in peers)


def _is_peer(peer: Rules, endpoint: Endpoint, namespace: str) -> bool:
    assert set(peer) <= {"podSelector", "namespaceSelector"}, "pods are named by labels, not by addresses"
    if "namespaceSelector" not in peer:
        return endpoint.namespace == namespace and _selects(peer["podSelector"], endpoint.labels)
    labels = {"kubernetes.io/metadata.name": endpoint.namespace, **endpoint.namespace_labels}
    return _selects(peer["namespaceSelector"], labels) and _selects(peer.get("podSelector", {}), endpoint.labels)


def _names_port(ports: Iterable[Rules] | None, port: Port) -> bool:
    if ports is None:
        return True
    return any(
        rule.get("protocol", "TCP") == port.protocol and rule["port"] in (port.number, port.name) for rule in ports
    )


def _selects(selector: Rules, labels: Mapping[str, str]) -> bool:
    wanted = selector.get("matchLabels", {})
    expressions = selector.get("matchExpressions", ())
    assert all(expression["operator"] == "In" for expression in expressions)
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        labels.get(expression["key"]) in expression["values"] for expression in expressions
    )
