"""Write the JSON schemas that `make lint-deploy` validates the rendered chart against.

    python deploy/kubernetes_schemas.py MODULE OUTPUT

MODULE is the unpacked Go module `k8s.io/kubernetes`; OUTPUT is the folder to create. The script
reads Kubernetes' OpenAPI documents and writes one self-contained schema for each kind in the chart.
A schema rejects unknown fields, as the strict validation of the API server does. Descriptions are
left out.

The chart's `ServiceMonitor` belongs to the Prometheus Operator and has no schema here:
`tests/deploy/test_chart.py` checks it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

KINDS = {
    "api__v1": ["Secret", "Service", "ServiceAccount"],
    "apis__apps__v1": ["Deployment"],
    "apis__autoscaling__v2": ["HorizontalPodAutoscaler"],
    "apis__networking.k8s.io__v1": ["Ingress", "NetworkPolicy"],
    "apis__policy__v1": ["PodDisruptionBudget"],
}
"""The kinds in the chart, by the name of their OpenAPI document."""

VALIDATION_KEYWORDS = {
    "additionalProperties",
    "allOf",
    "anyOf",
    "enum",
    "format",
    "items",
    "maximum",
    "minimum",
    "oneOf",
    "required",
    "type",
}
REFERENCE = "#/components/schemas/"


class DefinitionCollector:
    """Collects the definitions that a kind refers to, directly or indirectly."""

    def __init__(self, components: dict[str, Any]) -> None:
        self._components = components
        self.definitions: dict[str, Any] = {}

    def add(self, name: str) -> dict[str, str]:
        """Add a definition and all definitions it refers to; return a reference to it."""
        if name not in self.definitions:
            # A definition can refer to itself. This placeholder prevents endless recursion.
            self.definitions[name] = {}
            self.definitions[name] = self._convert(self._components[name])
        return {"$ref": f"#/definitions/{name}"}

    def _convert(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self._convert(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return self.add(node["$ref"].removeprefix(REFERENCE))
        converted = {
            key: self._convert(value) for key, value in node.items() if key in VALIDATION_KEYWORDS
        }
        if "properties" in node:
            converted["properties"] = {
                name: self._convert(schema) for name, schema in node["properties"].items()
            }
            converted["additionalProperties"] = False
        return converted


def kind_schema(document: dict[str, Any], kind: str) -> tuple[str, dict[str, Any]]:
    """Return the file name that kubeconform expects for a kind, and the kind's schema.

    Raises:
        SystemExit: The OpenAPI document does not define the kind.
    """
    components = document["components"]["schemas"]
    for name, component in components.items():
        for identity in component.get("x-kubernetes-group-version-kind", []):
            if identity["kind"] == kind:
                collector = DefinitionCollector(components)
                reference = collector.add(name)
                properties = collector.definitions[name]["properties"]
                group, version = identity["group"], identity["version"]
                properties["apiVersion"]["enum"] = [f"{group}/{version}" if group else version]
                properties["kind"]["enum"] = [kind]
                collector.definitions[name]["required"] = ["apiVersion", "kind"]
                suffix = f"{group.split('.')[0]}-{version}" if group else version
                return f"{kind.lower()}-{suffix}.json", {
                    "$schema": "http://json-schema.org/draft-07/schema#",
                    "allOf": [reference],
                    "definitions": collector.definitions,
                }
    raise SystemExit(f"the OpenAPI document does not define the kind {kind}")


def main() -> None:
    """Write the schemas of all kinds; create the output folder when all schemas are complete."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("module", type=Path, help="unpacked Go module k8s.io/kubernetes")
    parser.add_argument("output", type=Path, help="folder to create")
    options = parser.parse_args()
    output: Path = options.output
    output.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=output.parent))
    for group, kinds in KINDS.items():
        path = options.module / "api" / "openapi-spec" / "v3" / f"{group}_openapi.json"
        document = json.loads(path.read_text(encoding="utf-8"))
        for kind in kinds:
            name, schema = kind_schema(document, kind)
            (scratch / name).write_text(json.dumps(schema, sort_keys=True), encoding="utf-8")
    scratch.rename(output)


if __name__ == "__main__":
    main()
