"""What the chart renders for which values, by the real Helm, and which values it refuses."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from computepool.prometheus.source import load_source
from e2e.chart import (
    BURST_POLICY,
    CHART,
    CHECK_ACCOUNT,
    CLEANUP_ACCOUNT,
    GUARD_POLICIES,
    IMAGE,
    LEADER_RECORD,
    NAMESPACE,
    RELEASE,
    value_flags,
)
from e2e.cluster import REPOSITORY, Access
from e2e.errors import CommandError
from tests.unit.chart.expressions import alerts, panels
from tools.release.chart import write as write_published_chart
from tools.release.source import Image

Json = dict[str, Any]

POLICY_API = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"
MONITOR_API = "monitoring.coreos.com/v1/ServiceMonitor"
RULE_API = "monitoring.coreos.com/v1/PrometheusRule"


class Rendered:
    """The manifests that the chart makes of some values."""

    def __init__(self, text: str) -> None:
        self.manifests: list[Json] = [one for one in yaml.safe_load_all(text) if one]

    def one(self, kind: str, name: str | None = None) -> Json:
        (found,) = self.all(kind, name)
        return found

    def all(self, kind: str, name: str | None = None) -> list[Json]:
        return [one for one in self.manifests if one["kind"] == kind and name in (None, one["metadata"]["name"])]

    def kinds(self) -> set[str]:
        return {one["kind"] for one in self.manifests}

    def pod(self) -> Json:
        template: Json = self.one("Deployment")["spec"]["template"]
        return template

    def container(self) -> Json:
        container: Json = self.pod()["spec"]["containers"][0]
        return container


def render(
    cluster: Access,
    values: Json | None = None,
    *arguments: str,
    api: tuple[str, ...] = (POLICY_API,),
    hooks: bool = False,
) -> Rendered:
    """What `helm template` makes of values, for a cluster with these APIs beyond the usual ones; with hooks if told."""
    return Rendered(
        cluster.helm(
            *("template", RELEASE, str(CHART), "--namespace", NAMESPACE, *arguments),
            *(() if hooks else ("--no-hooks",)),
            *value_flags(values or {}),
            *(f"--api-versions={one}" for one in api),
        )
    )


def test_the_chart_passes_lint(cluster: Access) -> None:
    assert "0 chart(s) failed" in cluster.helm("lint", str(CHART), "--strict")


def test_by_default_everything_is_there_that_needs_nothing_else(cluster: Access) -> None:
    rendered = render(cluster)
    assert rendered.kinds() == {
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "Deployment",
        "MutatingAdmissionPolicy",
        "PodDisruptionBudget",
        "Role",
        "RoleBinding",
        "Service",
        "ServiceAccount",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }
    names = {one["metadata"]["name"] for one in rendered.all("ValidatingAdmissionPolicy")}
    assert names == set(GUARD_POLICIES)
    assert rendered.one("MutatingAdmissionPolicy")["metadata"]["name"] == BURST_POLICY
    assert all(one["metadata"]["labels"]["app.kubernetes.io/instance"] == RELEASE for one in rendered.manifests)


def test_the_operator_runs_as_nobody_with_nothing(cluster: Access) -> None:
    rendered = render(cluster)
    pod, container = rendered.pod()["spec"], rendered.container()
    assert rendered.one("Deployment")["spec"]["replicas"] == 2
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all(one["automountServiceAccountToken"] is False for one in rendered.all("ServiceAccount"))
    assert {one["whenUnsatisfiable"] for one in pod["topologySpreadConstraints"]} == {"ScheduleAnyway"}
    assert {one["name"] for one in container["env"]} == {"POD_NAMESPACE", "POD_NAME"}
    assert container["args"] == ["run", "--log-format=json", "--log-level=info"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert container["ports"] == [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]
    assert container["image"].startswith(f"{IMAGE['image.repository']}:")


@pytest.mark.parametrize(
    ("values", "gone"),
    [
        (
            {"serviceAccount.create": False, "serviceAccount.name": "mine", "guard.enabled": False},
            {"ServiceAccount", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"},
        ),
        ({"rbac.create": False, "rbac.userRoles": False}, {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}),
        ({"rbac.create": False}, {"ClusterRoleBinding", "Role", "RoleBinding"}),
        ({"crds.enabled": False}, {"CustomResourceDefinition"}),
        ({"admissionPolicy.enabled": False}, {"MutatingAdmissionPolicy"}),
        ({"guard.enabled": False}, {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}),
        ({"podDisruptionBudget.enabled": False}, {"PodDisruptionBudget"}),
        ({"replicas": 1}, {"PodDisruptionBudget"}),
        ({"metrics.service.enabled": False}, {"Service"}),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_a_part_can_be_left_out(cluster: Access, values: Json, gone: set[str]) -> None:
    assert render(cluster).kinds() - render(cluster, values).kinds() == gone


def test_where_the_cluster_has_no_mutating_policies_there_is_none_and_no_right_to_bind_one(cluster: Access) -> None:
    rendered = render(cluster, {}, "--kube-version=1.32.0", api=())
    assert "MutatingAdmissionPolicy" not in rendered.kinds()
    assert "mutatingadmissionpolicybindings" not in json.dumps(rendered.all("ClusterRole"))
    assert "ValidatingAdmissionPolicy" in rendered.kinds()


def test_a_tool_that_renders_without_a_cluster_gets_the_policy_and_the_right_to_bind_it_if_told(
    cluster: Access,
) -> None:
    rendered = render(cluster, {"admissionPolicy.whenMissing": "Render"}, api=())
    assert rendered.manifests == render(cluster).manifests
    assert rendered.one("MutatingAdmissionPolicy", BURST_POLICY)
    assert "mutatingadmissionpolicybindings" in json.dumps(rendered.all("ClusterRole"))


def test_a_missing_policy_api_is_an_error_if_told(cluster: Access) -> None:
    fail = {"admissionPolicy.whenMissing": "Fail"}
    with pytest.raises(
        CommandError, match=r"use Kubernetes 1\.36 or later, or set admissionPolicy\.whenMissing to Skip"
    ):
        render(cluster, fail, api=())
    assert render(cluster, fail).manifests == render(cluster).manifests
    assert render(cluster, fail | {"admissionPolicy.enabled": False}, api=()).one("Deployment")


def test_without_an_image_the_chart_says_where_to_get_it(cluster: Access) -> None:
    with pytest.raises(CommandError, match=r"image\.repository is empty: build the image from the Dockerfile"):
        render(cluster, {"image.repository": ""})


def test_roles_are_split_by_read_and_write(cluster: Access) -> None:
    rendered = render(cluster)
    verbs = {
        name: {verb for rule in rendered.one("ClusterRole", f"{RELEASE}-{name}")["rules"] for verb in rule["verbs"]}
        for name in ("read", "write", "viewer", "editor")
    }
    assert verbs == {
        "read": {"get", "list", "watch"},
        "write": {"create", "patch", "delete"},
        "viewer": {"get", "list", "watch"},
        "editor": {"create", "update", "patch", "delete", "deletecollection"},
    }


def test_pods_may_be_deleted_only_where_the_values_say_so(cluster: Access) -> None:
    def deletes(values: Json) -> bool:
        rules = render(cluster, values).one("ClusterRole", f"{RELEASE}-write")["rules"]
        return any(rule["resources"] == ["pods"] and "delete" in rule["verbs"] for rule in rules)

    assert not deletes({})
    assert deletes({"failover.releaseLostPods": True})


@pytest.mark.parametrize("guard", [True, False])
def test_the_operator_may_look_for_the_record_of_the_leader_with_and_without_the_guard(
    cluster: Access, guard: bool
) -> None:
    # Without the right, the API server would answer "forbidden" for a record that does not exist.
    rules = render(cluster, {"guard.enabled": guard}).one("Role", f"{RELEASE}-write")["rules"]
    record = {"apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": [LEADER_RECORD]}
    assert {**record, "verbs": ["get", "patch"]} in rules


def test_an_uninstall_runs_a_cleanup_with_a_role_of_its_own_that_goes_with_it(cluster: Access) -> None:
    rendered, without = render(cluster, hooks=True), render(cluster)
    hooks = [
        one for one in rendered.manifests if one not in without.manifests and one["metadata"]["name"] == CLEANUP_ACCOUNT
    ]
    assert {one["kind"] for one in hooks} == {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Job"}
    for one in hooks:
        assert one["metadata"]["annotations"]["helm.sh/hook"] == "post-delete"
        policies = one["metadata"]["annotations"]["helm.sh/hook-delete-policy"].split(",")
        assert set(policies) == {"before-hook-creation", "hook-succeeded"}
    weights = {one["kind"]: int(one["metadata"]["annotations"]["helm.sh/hook-weight"]) for one in hooks}
    assert weights["Job"] == max(weights.values())
    assert weights["ServiceAccount"] < weights["ClusterRoleBinding"] < weights["Job"]
    assert rendered.one("ClusterRole", CLEANUP_ACCOUNT)["rules"] == [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "patch"]}
    ]
    (subject,) = rendered.one("ClusterRoleBinding", CLEANUP_ACCOUNT)["subjects"]
    assert (subject["name"], subject["namespace"]) == (CLEANUP_ACCOUNT, NAMESPACE)


def test_the_cleanup_ends_in_time_runs_as_the_operator_does_and_is_not_taken_for_it(cluster: Access) -> None:
    tolerations = [{"key": "system", "operator": "Exists"}]
    rendered = render(cluster, {"cleanup.timeoutSeconds": 60, "tolerations": tolerations}, hooks=True)
    job, operator = rendered.one("Job", CLEANUP_ACCOUNT)["spec"], rendered.pod()["spec"]
    pod = job["template"]["spec"]
    assert (job["activeDeadlineSeconds"], job["backoffLimit"]) == (60, 2)
    assert pod["serviceAccountName"] == CLEANUP_ACCOUNT
    assert pod["restartPolicy"] == "Never"
    assert pod["tolerations"] == [{"key": "computepool.io/unavailable", "operator": "Exists"}, *tolerations]
    for part in ("securityContext", "nodeSelector"):
        assert pod[part] == operator[part]
    (own,), (its,) = pod["containers"], operator["containers"]
    assert own["args"] == ["cleanup"]
    for part in ("image", "imagePullPolicy", "securityContext", "resources"):
        assert own[part] == its[part]
    selector = rendered.one("Deployment")["spec"]["selector"]["matchLabels"]
    assert not selector.items() <= job["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize("values", [{"cleanup.enabled": False}, {"rbac.create": False}], ids=json.dumps)
def test_without_a_role_or_where_it_is_not_wanted_an_uninstall_runs_nothing(cluster: Access, values: Json) -> None:
    assert not render(cluster, values, hooks=True).all("Job", CLEANUP_ACCOUNT)


def test_helm_test_runs_a_check_that_may_only_read_the_lease_and_the_pools(cluster: Access) -> None:
    rendered = render(cluster, {"tolerations": [{"key": "system", "operator": "Exists"}]}, hooks=True)
    hooks = [one for one in rendered.manifests if one["metadata"]["name"] == CHECK_ACCOUNT]
    assert {one["metadata"]["annotations"]["helm.sh/hook"] for one in hooks} == {"test"}
    weights = {one["kind"]: int(one["metadata"]["annotations"]["helm.sh/hook-weight"]) for one in hooks}
    assert weights["ServiceAccount"] < weights["ClusterRoleBinding"] == weights["RoleBinding"] < weights["Job"]
    lease = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["computepool"]}
    assert rendered.one("Role", CHECK_ACCOUNT)["rules"] == [lease | {"verbs": ["get"]}]
    pools = {"apiGroups": ["computepool.io"], "resources": ["computepools"], "verbs": ["list"]}
    assert rendered.one("ClusterRole", CHECK_ACCOUNT)["rules"] == [pools]
    pod = rendered.one("Job", CHECK_ACCOUNT)["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == CHECK_ACCOUNT
    assert pod["tolerations"] == rendered.pod()["spec"]["tolerations"]
    assert pod["containers"][0]["args"] == ["check", f"--namespace={NAMESPACE}", "--wait-seconds=60"]
    assert not render(cluster, {"rbac.create": False}, hooks=True).all("Job")


def test_where_helm_test_has_nothing_to_run_the_notes_name_the_command(cluster: Access) -> None:
    def notes(values: Json) -> str:
        install = ("install", RELEASE, str(CHART), "--dry-run=client", "--namespace", NAMESPACE)
        return cluster.helm(*install, *value_flags(values)).partition("\nNOTES:\n")[2]

    check = f"     computepool check --namespace {NAMESPACE}\n"
    test = f"     helm test {RELEASE} --namespace {NAMESPACE}\n"
    assert test in notes({})
    assert check not in notes({})
    assert check in notes({"rbac.create": False})
    assert test not in notes({"rbac.create": False})


def test_the_definition_is_kept_on_uninstall_unless_told_otherwise(cluster: Access) -> None:
    keep = {"helm.sh/resource-policy": "keep"}
    assert render(cluster).one("CustomResourceDefinition")["metadata"]["annotations"] == keep
    dropped = render(cluster, {"crds.keep": False}).one("CustomResourceDefinition")["metadata"]
    assert "helm.sh/resource-policy" not in dropped.get("annotations", {})


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({"repository": "example.com/a/b"}, "example.com/a/b:0.1.0"),
        ({"repository": "example.com:5000/a/b", "tag": "main"}, "example.com:5000/a/b:main"),
        ({"repository": "a", "tag": "main", "digest": f"sha256:{'0' * 64}"}, f"a@sha256:{'0' * 64}"),
    ],
    ids=["the chart's version", "a tag", "a digest"],
)
def test_the_image_is_named_by_digest_or_tag_or_the_charts_version(cluster: Access, image: Json, expected: str) -> None:
    values = {f"image.{key}": value for key, value in image.items()}
    assert render(cluster, values).container()["image"] == expected


def test_every_setting_of_the_operators_pods_reaches_them(cluster: Access) -> None:
    selector = [{"labelSelector": {}, "topologyKey": "rack", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}]
    values: Json = {
        "image.pullPolicy": "Always",
        "imagePullSecrets": [{"name": "registry"}],
        "priorityClassName": "system-cluster-critical",
        "podLabels": {"team": "platform", "app.kubernetes.io/name": "not-this"},
        "podAnnotations": {"note": "1"},
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"key": "system", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": selector,
        "resources": {"requests": {"cpu": "1"}},
        "extraArgs": ["--http-port=8080"],
        "extraEnv": [{"name": "EXTRA", "value": "1"}],
        "log": {"format": "console", "level": "debug"},
    }
    rendered = render(cluster, values)
    template, pod, container = rendered.pod(), rendered.pod()["spec"], rendered.container()
    assert container["imagePullPolicy"] == "Always"
    assert pod["imagePullSecrets"] == values["imagePullSecrets"]
    assert pod["priorityClassName"] == "system-cluster-critical"
    assert (
        template["metadata"]["labels"].items() >= {"team": "platform", "app.kubernetes.io/name": "computepool"}.items()
    )
    assert template["metadata"]["annotations"] == {"note": "1"}
    assert pod["nodeSelector"].items() >= {"pool": "system"}.items()
    assert pod["tolerations"] == values["tolerations"]
    assert pod["affinity"] == values["affinity"]
    assert pod["topologySpreadConstraints"] == selector
    assert container["resources"]["requests"]["cpu"] == "1"
    assert container["args"] == ["run", "--log-format=console", "--log-level=debug", "--http-port=8080"]
    assert {"name": "EXTRA", "value": "1"} in container["env"]
    assert "topologySpreadConstraints" not in render(cluster, {"topologySpreadConstraints": []}).pod()["spec"]


def test_the_guard_and_the_roles_follow_the_name_of_the_service_account(cluster: Access) -> None:
    rendered = render(cluster, {"serviceAccount.create": False, "serviceAccount.name": "mine"})
    user = f"system:serviceaccount:{NAMESPACE}:mine"
    for guard in rendered.all("ValidatingAdmissionPolicy"):
        assert guard["spec"]["matchConditions"][0]["expression"] == f'request.userInfo.username == "{user}"'
    bindings = rendered.all("ClusterRoleBinding") + rendered.all("RoleBinding")
    assert {one["subjects"][0]["name"] for one in bindings} == {"mine"}
    assert rendered.pod()["spec"]["serviceAccountName"] == "mine"


def test_names_follow_the_release_or_what_overrides_it(cluster: Access) -> None:
    assert render(cluster, {"fullnameOverride": "gpu"}).one("Deployment")["metadata"]["name"] == "gpu"
    assert render(cluster, {"nameOverride": "gpu"}).one("Deployment")["metadata"]["name"] == "computepool-gpu"


def _named(part: Any) -> Iterator[Any]:
    """Yield all names, namespaces and labels of a manifest."""
    if isinstance(part, list):
        for item in part:
            yield from _named(item)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key in ("labels", "matchLabels"):
                yield from value.values()
            elif key == "matchNames":
                yield from value
            elif key in ("name", "namespace", "serviceAccountName"):
                yield value
            else:
                yield from _named(value)


def test_a_release_a_namespace_and_an_account_may_have_names_of_digits(cluster: Access) -> None:
    values: Json = {
        "nameOverride": "12",
        "serviceAccount.name": "34",
        "metrics.serviceMonitor.enabled": True,
        "metrics.prometheusRule.enabled": True,
        "metrics.dashboard.enabled": True,
        "prometheus.url": "http://prometheus:9090",
    }
    api = (POLICY_API, MONITOR_API, RULE_API)
    for more in ({}, {"fullnameOverride": "0x1f"}):
        flags = (*value_flags(values | more), *(f"--api-versions={name}" for name in api))
        rendered = Rendered(cluster.helm("template", "123", str(CHART), "--namespace", "456", *flags))
        # The definition has fields of the pool's schema called so.
        manifests = [each for each in rendered.manifests if each["kind"] != "CustomResourceDefinition"]
        found = [name for manifest in manifests for name in _named(manifest)]
        assert {"123", "456", "12", "34"} <= set(found)
        assert [name for name in found if not isinstance(name, str)] == []


def test_a_value_that_is_set_to_null_is_as_if_it_were_empty(cluster: Access) -> None:
    names = ["imagePullSecrets", "extraArgs", "extraEnv", "tolerations", "resources", "podLabels", "podAnnotations"]
    names += ["nodeSelector", "affinity", "podSecurityContext", "securityContext"]
    rendered = render(cluster, dict.fromkeys(names), hooks=True)
    assert rendered.one("Job", CLEANUP_ACCOUNT)["spec"]["template"]["spec"]["tolerations"] == [
        {"key": "computepool.io/unavailable", "operator": "Exists"}
    ]
    pod, container = rendered.pod()["spec"], rendered.container()
    assert not {"tolerations", "nodeSelector", "affinity", "securityContext", "imagePullSecrets"} & pod.keys()
    assert not {"resources", "securityContext"} & container.keys()


def test_a_service_monitor_is_rendered_where_the_cluster_knows_it(cluster: Access) -> None:
    on = {"metrics.serviceMonitor.enabled": True, "metrics.serviceMonitor.labels": {"release": "prometheus"}}
    monitor = render(cluster, on, api=(MONITOR_API,)).one("ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    service = render(cluster).one("Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


def test_a_service_monitor_that_the_cluster_does_not_know_is_refused_skipped_or_rendered(cluster: Access) -> None:
    on = {"metrics.serviceMonitor.enabled": True}
    with pytest.raises(CommandError, match=r"whenMissing to Skip or Render"):
        render(cluster, on)
    assert "ServiceMonitor" not in render(cluster, on | {"metrics.serviceMonitor.whenMissing": "Skip"}).kinds()
    assert "ServiceMonitor" in render(cluster, on | {"metrics.serviceMonitor.whenMissing": "Render"}).kinds()


def test_a_service_monitor_without_service_is_refused(cluster: Access) -> None:
    with pytest.raises(CommandError, match=r"needs metrics\.service\.enabled"):
        render(cluster, {"metrics.serviceMonitor.enabled": True, "metrics.service.enabled": False})


RULES = {"metrics.prometheusRule.enabled": True}


def test_the_alerts_are_rendered_where_the_cluster_knows_rules(cluster: Access) -> None:
    labels = {"metrics.prometheusRule.labels": {"release": "prometheus"}}
    rule = render(cluster, RULES | labels, api=(RULE_API,)).one("PrometheusRule")
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    (group,) = rule["spec"]["groups"]
    assert group["rules"] == alerts()


def test_rules_that_the_cluster_does_not_know_are_refused_skipped_or_rendered(cluster: Access) -> None:
    with pytest.raises(CommandError, match=r"no PrometheusRule: install the Prometheus operator, or set metrics\."):
        render(cluster, RULES)
    assert "PrometheusRule" not in render(cluster, RULES | {"metrics.prometheusRule.whenMissing": "Skip"}).kinds()
    assert "PrometheusRule" in render(cluster, RULES | {"metrics.prometheusRule.whenMissing": "Render"}).kinds()


def test_an_alert_can_be_left_out_and_another_added(cluster: Access) -> None:
    own = {"alert": "Mine", "expr": "computepool_pending_pods > 100", "labels": {"severity": "critical"}}
    values = {"metrics.prometheusRule.disabledAlerts": ["ComputePoolPodsPending"]}
    rule = render(cluster, RULES | values | {"metrics.prometheusRule.extraRules": [own]}, api=(RULE_API,))
    (group,) = rule.one("PrometheusRule")["spec"]["groups"]
    kept = [each for each in alerts() if each["alert"] != "ComputePoolPodsPending"]
    assert group["rules"] == [*kept, own]


def test_all_alerts_can_be_left_out(cluster: Access) -> None:
    values = {"metrics.prometheusRule.disabledAlerts": [rule["alert"] for rule in alerts()]}
    (group,) = render(cluster, RULES | values, api=(RULE_API,)).one("PrometheusRule")["spec"]["groups"]
    assert group["rules"] == []


def test_a_misspelt_alert_is_refused_with_the_names_of_all(cluster: Access) -> None:
    with pytest.raises(CommandError, match=r"names Pending, which is no alert of this chart: .*ComputePoolNoLeader"):
        render(cluster, RULES | {"metrics.prometheusRule.disabledAlerts": ["Pending"]}, api=(RULE_API,))


def test_the_dashboard_is_a_config_map_with_the_label_that_grafana_looks_for(cluster: Access) -> None:
    assert "ConfigMap" not in render(cluster).kinds()
    values = {"metrics.dashboard.enabled": True, "metrics.dashboard.annotations": {"grafana_folder": "GPUs"}}
    found = render(cluster, values).one("ConfigMap")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["annotations"] == {"grafana_folder": "GPUs"}
    assert json.loads(found["data"]["computepool.json"])["panels"] == panels()


def test_an_older_kubernetes_is_refused(cluster: Access) -> None:
    with pytest.raises(CommandError, match=r"requires kubeVersion: >=1\.32"):
        render(cluster, {}, "--kube-version=1.31.9")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"replica": 3}, "additional properties 'replica' not allowed"),
        ({"guard.tolerationKey": ["a"]}, "additional properties 'tolerationKey' not allowed"),
        ({"replicas": -1}, "at '/replicas': minimum: got -1, want 0"),
        ({"replicas": "two"}, "at '/replicas': got string, want integer"),
        ({"image.pullPolicy": "Sometimes"}, "at '/image/pullPolicy': value must be one of 'Always', 'IfNotPresent'"),
        ({"image.repository": "a b"}, "at '/image/repository'"),
        ({"image.repository": "example.com/a/b:1.0"}, "at '/image/repository'"),
        ({"image.repository": "example.com:5000/a@sha256:0"}, "at '/image/repository'"),
        ({"admissionPolicy.whenMissing": "Maybe"}, "at '/admissionPolicy/whenMissing': value must be one of"),
        ({"metrics.prometheusRule.enable": True}, "additional properties 'enable' not allowed"),
        ({"metrics.dashboard.labels": {"a": 1}}, "at '/metrics/dashboard/labels/a': got number, want string"),
        ({"image.digest": "sha256:1"}, "at '/image/digest'"),
        ({"guard.tolerationKeys": []}, "at '/guard/tolerationKeys': minItems: got 0, want 1"),
        ({"guard.tolerationKeys": [""]}, "at '/guard/tolerationKeys/0'"),
        ({"guard.tolerationKeys": ["a b"]}, "at '/guard/tolerationKeys/0'"),
        ({"guard.tolerationKeys": ["computepool.io/unavailable"]}, "at '/guard/tolerationKeys/0'"),
        ({"failover.releasePods": True}, "additional properties 'releasePods' not allowed"),
        ({"cleanup.enabled": "no"}, "at '/cleanup/enabled': got string, want boolean"),
        ({"cleanup.timeoutSeconds": 0}, "at '/cleanup/timeoutSeconds': minimum: got 0, want 10"),
        ({"log.level": "loud"}, "at '/log/level': value must be one of 'debug', 'info', 'warning', 'error'"),
        ({"extraEnv": [{"name": "POD_NAME", "value": "x"}]}, "at '/extraEnv/0/name'"),
        ({"podDisruptionBudget.maxUnavailable": 0}, "at '/podDisruptionBudget/maxUnavailable'"),
        ({"podDisruptionBudget.maxUnavailable": "0%"}, "at '/podDisruptionBudget/maxUnavailable'"),
        ({"metrics.serviceMonitor.interval": "often"}, "at '/metrics/serviceMonitor/interval'"),
        ({"crds": {"enabled": "yes"}}, "at '/crds/enabled': got string, want boolean"),
        ({"podLabels": {"a": 1}}, "at '/podLabels/a': got number, want string"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_bad_value_is_refused_with_its_place(cluster: Access, values: Json, says: str) -> None:
    with pytest.raises(CommandError) as refused:
        render(cluster, values)
    assert says in refused.value.stderr


SOURCE = {"prometheus.url": "http://prometheus:9090"}
SECRET = {"secretName": "metrics", "key": "key"}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"prometheus.url": "http://:9090"}, "prometheus.url must have a scheme and a host"),
        ({"prometheus.url": "http:///metrics"}, "prometheus.url must have a scheme and a host"),
        ({"prometheus.url": "http://reader:hunter2@p"}, "put credentials into prometheus.bearerToken"),
        ({"prometheus.url": "prometheus:9090"}, "prometheus.url must have a scheme and a host"),
        (
            {"prometheus.headers": {"authorization": "hunter2"}, "prometheus.bearerToken.secretName": "metrics"},
            "a header Authorization beside prometheus.bearerToken or prometheus.basicAuth",
        ),
        (
            {"prometheus.secretHeaders": {"AUTHORIZATION": SECRET}, "prometheus.basicAuth.secretName": "metrics"},
            "a header Authorization beside prometheus.bearerToken or prometheus.basicAuth",
        ),
        (
            {"prometheus.basicAuth.secretName": "metrics", "prometheus.bearerToken.secretName": "metrics"},
            "prometheus.bearerToken and prometheus.basicAuth are both set",
        ),
        ({"prometheus.headers": {"X-A": "1", "x-a": "hunter2"}}, "the header x-a is in prometheus.headers or"),
        (
            {"prometheus.headers": {"X-A": "hunter2"}, "prometheus.secretHeaders": {"x-A": SECRET}},
            "the header x-a is in prometheus.headers or",
        ),
        ({"prometheus.headers": {"Content-Length": "1"}}, "the operator sets the header content-length itself"),
        ({"prometheus.headers": {"a b": "1"}}, "at '/prometheus/headers': additional properties 'a b' not allowed"),
        ({"prometheus.headers": {"X-A": "1\r\nX-B: 2"}}, "at '/prometheus/headers/X-A'"),
        ({"prometheus.queryParameters": {"time": "1"}}, "the operator sets the parameter time itself"),
        ({"prometheus.queryParameters": {"": "1"}}, "at '/prometheus/queryParameters': additional properties"),
        ({"prometheus.enforcedLabels": {"__name__": "up"}}, "__name__ is the name of a metric"),
        ({"prometheus.enforcedLabels": {'a"b': "up"}}, "at '/prometheus/enforcedLabels'"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_source_that_could_not_be_asked_is_refused_with_its_place(cluster: Access, values: Json, says: str) -> None:
    with pytest.raises(CommandError) as refused:
        render(cluster, SOURCE | values)
    assert says in " ".join(refused.value.stderr.split())


@pytest.mark.parametrize(
    "url", ["http://p", "https://p.ns.svc:9090/prometheus/", "http://[::1]:9090", "https://10.0.0.1"]
)
def test_a_source_is_read_as_the_chart_writes_it(cluster: Access, tmp_path: Path, url: str) -> None:
    strange = "a\"b'c\\d: {{ .Values }} # $x é\U0001f600"
    values = {
        "prometheus.url": url,
        "prometheus.headers": {"X-A'b": strange},
        "prometheus.secretHeaders": {"X-Key": SECRET},
        "prometheus.queryParameters": {"a&b=c": strange},
        "prometheus.enforcedLabels": {"team": strange + "\n}"},
        "prometheus.basicAuth.secretName": "metrics",
    }
    config = tmp_path / "prometheus.yaml"
    config.write_text(render(cluster, values).one("ConfigMap")["data"]["prometheus.yaml"])
    found = load_source(config)
    assert found.url == url.rstrip("/")
    assert found.headers == {"X-A'b": strange}
    assert found.query_parameters == {"a&b=c": strange}
    assert found.enforced_labels == {"team": strange + "\n}"}
    assert found.header_files == {"X-Key": Path("/etc/computepool/prometheus/header-0")}


def test_the_chart_may_be_a_dependency_of_another(cluster: Access) -> None:
    assert render(cluster, {"global": {"region": "eu"}}).one("Deployment")


def test_the_published_chart_passes_lint_and_runs_the_image_by_digest(cluster: Access, tmp_path: Path) -> None:
    image = Image("registry.example.com/example-owner/computepool", "sha256:" + "5e" * 32)
    published = tmp_path / "computepool"
    write_published_chart(REPOSITORY, published, image, "https://github.com/example-owner/computepool")
    assert "0 chart(s) failed" in cluster.helm("lint", str(published), "--strict")
    cluster.helm("package", str(published), "--destination", str(tmp_path))
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    package = tmp_path / f"computepool-{version}.tgz"
    shown = yaml.safe_load(cluster.helm("show", "chart", str(package)))
    assert shown["annotations"]["artifacthub.io/images"].count(str(image)) == 1
    rendered = Rendered(cluster.helm("template", RELEASE, str(package), "--namespace", NAMESPACE))
    images = {container["image"] for container in _containers(rendered)}
    assert images == {str(image)}

    own = "registry.example.com/mine/computepool"
    for values, named in (
        ({"tag": "dev"}, f"{image.repository}:dev"),
        ({"repository": own}, f"{own}:{version}"),
        ({"repository": own, "tag": "dev"}, f"{own}:dev"),
        ({"repository": own, "digest": image.digest}, f"{own}@{image.digest}"),
    ):
        flags = [f"--set=image.{name}={value}" for name, value in values.items()]
        other = Rendered(cluster.helm("template", RELEASE, str(package), "--namespace", NAMESPACE, *flags))
        assert {container["image"] for container in _containers(other)} == {named}


def _containers(rendered: Rendered) -> list[Json]:
    """The containers of the operator, of the cleanup that an uninstall runs, and of `helm test`."""
    workloads = [*rendered.all("Deployment"), *rendered.all("Job")]
    assert len(workloads) == 3
    return [container for one in workloads for container in one["spec"]["template"]["spec"]["containers"]]
