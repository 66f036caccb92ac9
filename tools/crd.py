"""The CustomResourceDefinition, made from the pydantic types, for `kubectl apply` and for the chart."""

from __future__ import annotations

import re
from typing import Any

import yaml

from computepool.model.api import GROUP, KIND, PLURAL, VERSION, ComputePool

Schema = dict[str, Any]
NAME = f"{PLURAL}.{GROUP}"
HEADER = "# Made by `make generate` from operator/computepool/model/api: do not edit.\n"

# What pydantic says and a structural schema must not.
_DROPPED = {"title", "$defs", "propertyNames", "default"}
_COLUMNS: tuple[tuple[str, str, str, int, str], ...] = (
    ("Mode", "string", ".spec.mode", 0, "Enforce, or Observe: decide and report only."),
    ("Primary", "string", ".status.primary", 0, "The provider where workloads run as long as they fit."),
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 1, "Whether the pool is being kept."),
    ("Saturated", "string", '.status.conditions[?(@.type=="Saturated")].status', 0, "Whether the primary is full."),
    ("Bursting", "integer", ".status.burstPods", 0, "Pods on standby providers."),
    ("Pending", "integer", ".status.pending.pods", 0, "Pods that wait for a node."),
    ("Health", "string", '.status.conditions[?(@.type=="Degraded")].reason', 0, "What is wrong first; or AllWell."),
    ("Cost/h", "string", ".status.costPerHour", 0, "What the pool's pods cost in an hour."),
    ("Age", "date", ".metadata.creationTimestamp", 0, "Time since the pool was created."),
)


def structural(model: Schema) -> Schema:
    """Turn a pydantic JSON schema into a structural one: references inlined, Optional removed, lists typed.

    Source of the rules: Kubernetes documentation, "Specifying a structural schema".
    """
    return _convert(model, model.get("$defs", {}))


def _convert(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    schema = _resolve(schema, definitions)
    out = {key: value for key, value in schema.items() if key not in _DROPPED}
    if "description" in out:
        out["description"] = plain(out["description"])
    if schema.get("type") == "integer":
        out["format"] = "int64"
    if "items" in schema:
        out["items"] = _convert(schema["items"], definitions)
        out.setdefault("x-kubernetes-list-type", "atomic")
    if isinstance(schema.get("additionalProperties"), dict):
        out["additionalProperties"] = _convert(schema["additionalProperties"], definitions)
    if "properties" in schema:
        out["properties"] = {name: _convert(one, definitions) for name, one in schema["properties"].items()}
    # An empty list or text is what "left out" means already.
    if schema.get("default") not in (None, [], {}, ""):
        out["default"] = schema["default"] if schema.get("type") != "object" else _defaults_of(out)
    return out


def _defaults_of(schema: Schema) -> dict[str, Any]:
    """The value of an object that is left out, in full: the API server holds defaults against the rules as they are."""
    return {name: one["default"] for name, one in schema["properties"].items() if "default" in one}


def _resolve(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """Follow `$ref` and strip the null of Optional; what stands beside the reference has the last word."""
    beside = {key: value for key, value in schema.items() if key not in ("$ref", "anyOf")}
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
    elif "anyOf" in schema:
        (target,) = (one for one in schema["anyOf"] if one.get("type") != "null")
    else:
        return schema
    return _resolve({**target, **beside}, definitions)


def plain(description: str) -> str:
    """A docstring as one paragraph a line, its line breaks being only those of the source."""
    return "\n".join(" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", description.strip()))


def _without_defaults(schema: Schema) -> Schema:
    """The schema of the status: written whole by the operator, so nothing is filled in."""
    out = {key: value for key, value in schema.items() if key != "default"}
    if "properties" in out:
        out["properties"] = {name: _without_defaults(one) for name, one in out["properties"].items()}
    if "items" in out:
        out["items"] = _without_defaults(out["items"])
    return out


def schema() -> Schema:
    """The structural schema of a ComputePool."""
    pool = structural(ComputePool.model_json_schema(by_alias=True))
    pool["properties"] = {
        "apiVersion": {"type": "string", "description": "Version of the API this object is written in."},
        "kind": {"type": "string", "description": f"Kind of the object: {KIND}."},
        "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
        "spec": pool["properties"]["spec"],
        "status": _without_defaults(pool["properties"]["status"]),
    }
    pool["required"] = ["spec"]
    return pool


def crd() -> dict[str, Any]:
    """The CustomResourceDefinition as an object."""
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": name, "type": type_, "jsonPath": path, "priority": priority, "description": description}
            for name, type_, path, priority, description in _COLUMNS
        ],
        "schema": {"openAPIV3Schema": schema()},
    }
    names = {
        "kind": KIND,
        "listKind": f"{KIND}List",
        "plural": PLURAL,
        "singular": KIND.lower(),
        "shortNames": ["cpool"],
        "categories": ["compute"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {"group": GROUP, "names": names, "scope": "Cluster", "versions": [version]},
    }


def render() -> str:
    """The CRD as a manifest."""
    return HEADER + _yaml(crd())


def render_chart() -> str:
    """The CRD as a template of the chart: only if wanted, with the chart's labels, and kept on uninstall if wanted."""
    body = _yaml({"spec": crd()["spec"]})
    # Nothing in the body is meant for Helm, whatever a description or a rule may contain.
    body = body.replace("{{", '{{ "{{" }}')
    return f"""{HEADER}{{{{- if .Values.crds.enabled }}}}
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: {NAME}
  labels:
    {{{{- include "computepool.labels" . | nindent 4 }}}}
  {{{{- if .Values.crds.keep }}}}
  annotations:
    helm.sh/resource-policy: keep
  {{{{- end }}}}
{body}{{{{- end }}}}
"""


class _Dumper(yaml.SafeDumper):
    """Indents lists, which is how people write manifests."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 - the base's name
        super().increase_indent(flow, indentless=False)


def _yaml(data: Any) -> str:
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
