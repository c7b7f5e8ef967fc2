"""Every installation keeps the schemas of its objects, with no field that Kubernetes would drop."""

import functools
import itertools
import json
import subprocess
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from installations import NEEDS_KUBECTL, PROCESSES, find_unknown_variables
from manifests import KUBERNETES, OPTIONS, REPOSITORY, STORES, Installation, combine

pytestmark = NEEDS_KUBECTL

SCHEMAS = REPOSITORY.parent / "shared" / "schemas"
# The oldest release that the manifests are for: preStop.sleep is on by default, and has been for three of them.
KUBERNETES_VERSION = "1.33"
OWN_KINDS = {
    "ScaledObject": "keda.sh_scaledobjects",
    "PodMonitor": "monitoring.coreos.com_podmonitors",
    "PrometheusRule": "monitoring.coreos.com_prometheusrules",
}


def choose_options() -> tuple[tuple[str, ...], ...]:
    """Return every set of options, the empty one too."""
    return tuple(chosen for count in range(len(OPTIONS) + 1) for chosen in itertools.combinations(OPTIONS, count))


def test_core_objects_have_no_unknown_field(installation: Installation) -> None:
    """Kubernetes would drop it with a warning, and what was meant would not be."""
    for item in installation.objects:
        if item["kind"] not in OWN_KINDS:
            validate(json.dumps(item))


@functools.cache
def validate(text: str) -> None:
    """Have an object validated, once for all installations that it is in."""
    kubernetes_validate.validate(json.loads(text), KUBERNETES_VERSION, strict=True)


def test_custom_objects_keep_their_schemas(installation: Installation) -> None:
    """Those of KEDA and of the Prometheus operator, and no field that they do not know."""
    for item in installation.objects:
        if item["kind"] in OWN_KINDS:
            jsonschema.Draft202012Validator(read_schema(item["kind"], item["apiVersion"])).validate(item)


def test_rules_are_those_of_the_operator() -> None:
    """As rules.sh writes them from what Prometheus itself reads."""
    answer = subprocess.run([KUBERNETES / "rules.sh"], capture_output=True, check=True)
    rules = list(yaml.load_all(answer.stdout, yaml.CSafeLoader))
    assert rules
    for item in rules:
        jsonschema.Draft202012Validator(read_schema(item["kind"], item["apiVersion"])).validate(item)


@functools.cache
def read_schema(kind: str, api_version: str) -> Any:  # Any: JSON
    """Return the schema that a custom object's definition carries for a version, closed."""
    path = SCHEMAS / f"{OWN_KINDS[kind]}.yaml"
    if not path.exists():
        pytest.skip(f"needs the custom resource definition {path.name} in ../shared/schemas")
    versions = yaml.load(path.read_text(), yaml.CSafeLoader)["spec"]["versions"]
    version = next(version for version in versions if version["name"] == api_version.rpartition("/")[2])
    schema = closed_schema(version["schema"]["openAPIV3Schema"])
    # A definition says of metadata only that it is an object.
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


def closed_schema(schema: Any) -> Any:  # Any: JSON
    """Return a schema that refuses fields which Kubernetes would drop."""
    if isinstance(schema, list):
        return [closed_schema(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: closed_schema(part) for key, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


@pytest.mark.integration
@pytest.mark.parametrize("options", choose_options(), ids=" ".join)
@pytest.mark.parametrize("store", STORES)
def test_every_combination_renders_and_keeps_its_schemas(store: str, options: tuple[str, ...]) -> None:
    """Components that nobody thought of together, too."""
    installation = combine((store, *options))
    assert PROCESSES.issubset(installation.pods)
    test_core_objects_have_no_unknown_field(installation)
    test_custom_objects_keep_their_schemas(installation)
    assert list(find_unknown_variables(installation)) == []
