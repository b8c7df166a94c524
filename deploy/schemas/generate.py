"""Cut the JSON schemas of the kinds that the chart makes out of Kubernetes' own OpenAPI.

    python deploy/schemas/generate.py FOLDER

FOLDER is the unpacked Go module ``k8s.io/kubernetes``; ``make schemas`` fetches it. Each schema is
complete in itself and closed: a field that Kubernetes does not know is a fault, as in the API
server's strict validation. Descriptions are left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KINDS = {
    "api__v1": ["Secret", "Service", "ServiceAccount"],
    "apis__apps__v1": ["Deployment"],
    "apis__autoscaling__v2": ["HorizontalPodAutoscaler"],
    "apis__networking.k8s.io__v1": ["Ingress", "NetworkPolicy"],
    "apis__policy__v1": ["PodDisruptionBudget"],
}
KEPT = {
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


class Cutter:
    """Follows references from a kind, and keeps what it comes across."""

    def __init__(self, components: dict[str, Any]) -> None:
        self._components = components
        self.definitions: dict[str, Any] = {}

    def define(self, name: str) -> dict[str, str]:
        """Keep a definition and all it needs; gives a reference to it."""
        if name not in self.definitions:
            self.definitions[name] = {}  # some refer to themselves
            self.definitions[name] = self._cut(self._components[name])
        return {"$ref": f"#/definitions/{name}"}

    def _cut(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self._cut(one) for one in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return self.define(node["$ref"].removeprefix(REFERENCE))
        cut = {key: self._cut(value) for key, value in node.items() if key in KEPT}
        if "properties" in node:
            cut["properties"] = {
                name: self._cut(property) for name, property in node["properties"].items()
            }
            cut["additionalProperties"] = False
        return cut


def schema(document: dict[str, Any], kind: str, version: str) -> tuple[str, dict[str, Any]]:
    """The name that kubeconform looks for, and the schema."""
    components = document["components"]["schemas"]
    for name, component in components.items():
        for meant in component.get("x-kubernetes-group-version-kind", []):
            if meant["kind"] == kind:
                cutter = Cutter(components)
                reference = cutter.define(name)
                top = cutter.definitions[name]["properties"]
                group, api = meant["group"], meant["version"]
                top["apiVersion"]["enum"] = [f"{group}/{api}" if group else api]
                top["kind"]["enum"] = [kind]
                cutter.definitions[name]["required"] = ["apiVersion", "kind"]
                suffix = f"{group.split('.')[0]}-{api}" if group else api
                return f"{kind.lower()}-{suffix}.json", {
                    "$schema": "http://json-schema.org/draft-07/schema#",
                    "$comment": f"Kubernetes {version}, Apache-2.0; made by generate.py",
                    "allOf": [reference],
                    "definitions": dict(sorted(cutter.definitions.items())),
                }
    raise SystemExit(f"{kind} is not in this OpenAPI document")


def main(folder: Path) -> None:
    """Write all of them, in a folder that has Kubernetes' version for a name."""
    version = folder.name.partition("@")[2]
    target = HERE / version
    target.mkdir(exist_ok=True)
    for group, kinds in KINDS.items():
        document = json.loads(
            (folder / "api/openapi-spec/v3" / f"{group}_openapi.json").read_text(encoding="utf-8")
        )
        for kind in kinds:
            name, content = schema(document, kind, version)
            text = json.dumps(content, indent=1, sort_keys=True)
            (target / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
