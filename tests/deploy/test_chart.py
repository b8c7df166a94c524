"""Tests of the objects that Helm renders from the chart, for several sets of values.

`make lint-deploy` runs these tests with HELM set to the path of helm, and validates the objects
against Kubernetes's schemas.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
CHART = DEPLOY / "chart"
HELM = os.environ.get("HELM") or shutil.which("helm")
PROFILES = sorted(path.stem for path in (CHART / "ci").glob("*.yaml"))
PRODUCTION = "existing-secret"
# The server takes 15 s to disconnect calls after the deadline of the drain, and 10 s to shut down.
SHUTDOWN_SECONDS = 15 + 10

pytestmark = pytest.mark.skipif(
    HELM is None, reason="helm is not installed; `make lint-deploy` installs it"
)

Object = dict[str, Any]


def helm_template(profile: str, *settings: str) -> subprocess.CompletedProcess[str]:
    assert HELM is not None
    command = [HELM, "template", "bot", str(CHART), "--kube-version", "1.30.0"]
    command += ["--values", str(CHART / "ci" / f"{profile}.yaml")]
    for setting in settings:
        command += ["--set", setting]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def render(profile: str = PRODUCTION, *settings: str) -> dict[str, Object]:
    """Render the chart and return its objects by kind. There is at most one object of each kind."""
    done = helm_template(profile, *settings)
    assert done.returncode == 0, done.stderr
    objects = [one for one in yaml.safe_load_all(done.stdout) if one is not None]
    by_kind = {one["kind"]: one for one in objects}
    assert len(by_kind) == len(objects)
    return by_kind


def error_of(profile: str, *settings: str) -> str:
    """Return Helm's error message for values that cannot be rendered."""
    done = helm_template(profile, *settings)
    assert done.returncode != 0, "the chart was rendered"
    return done.stderr


def pod_of(objects: dict[str, Object]) -> Object:
    template: Object = objects["Deployment"]["spec"]["template"]
    return template


def bot_of(objects: dict[str, Object]) -> Object:
    (container,) = pod_of(objects)["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def environ_of(objects: dict[str, Object]) -> dict[str, Object]:
    return {one["name"]: one for one in bot_of(objects)["env"]}


def selects(selector: dict[str, str], labelled: Object) -> bool:
    labels: dict[str, str] = labelled["metadata"]["labels"]
    return selector.items() <= labels.items()


@pytest.mark.parametrize("profile", PROFILES)
def test_all_selectors_match_the_labels_of_the_pods(profile: str) -> None:
    objects = render(profile)
    pod = pod_of(objects)
    assert selects(objects["Deployment"]["spec"]["selector"]["matchLabels"], pod)
    assert selects(objects["Service"]["spec"]["selector"], pod)
    for constraint in pod["spec"]["topologySpreadConstraints"]:
        assert selects(constraint["labelSelector"]["matchLabels"], pod)
    for kind, key in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        if kind in objects:
            assert selects(objects[kind]["spec"][key]["matchLabels"], pod)
    if "ServiceMonitor" in objects:
        spec = objects["ServiceMonitor"]["spec"]
        assert selects(spec["selector"]["matchLabels"], objects["Service"])
        (endpoint,) = spec["endpoints"]
        assert endpoint["path"] == "/metrics"
        assert endpoint["port"] in {port["name"] for port in objects["Service"]["spec"]["ports"]}


@pytest.mark.parametrize("profile", PROFILES)
def test_service_and_probes_use_the_port_of_the_server(profile: str) -> None:
    objects = render(profile)
    (port,) = bot_of(objects)["ports"]
    assert str(port["containerPort"]) == environ_of(objects)["PIPECAT_GENESYS_PORT"]["value"]
    assert [one["targetPort"] for one in objects["Service"]["spec"]["ports"]] == [port["name"]]
    probes = ("startupProbe", "livenessProbe", "readinessProbe")
    paths = [bot_of(objects)[probe]["httpGet"]["path"] for probe in probes]
    assert paths == ["/healthz", "/healthz", "/readyz"]
    assert {bot_of(objects)[probe]["httpGet"]["port"] for probe in probes} == {port["name"]}


@pytest.mark.parametrize(
    "settings", [[], ["drain.seconds=7200"], ["drain.preStopSeconds=20", "drain.graceSeconds=40"]]
)
@pytest.mark.parametrize("profile", PROFILES)
def test_kubernetes_kills_a_pod_only_after_the_drain(profile: str, settings: list[str]) -> None:
    objects = render(profile, *settings)
    environ = environ_of(objects)
    drain = float(environ["PIPECAT_GENESYS_DRAIN_SECONDS"]["value"])
    grace = float(environ["PIPECAT_GENESYS_DRAIN_GRACE_SECONDS"]["value"])
    before = bot_of(objects)["lifecycle"]["preStop"]["sleep"]["seconds"]
    killed_after = pod_of(objects)["spec"]["terminationGracePeriodSeconds"]
    assert before > 0
    assert drain >= 1800
    assert killed_after > before + grace + drain + SHUTDOWN_SECONDS


def test_an_old_pod_stops_only_after_a_new_one_is_ready() -> None:
    assert render()["Deployment"]["spec"]["strategy"]["rollingUpdate"] == {
        "maxSurge": 1,
        "maxUnavailable": 0,
    }


def test_the_autoscaler_uses_the_number_of_active_calls() -> None:
    objects = render(PRODUCTION, "bot.maxCalls=100", "autoscaling.targetActiveCalls=70")
    scaler = objects["HorizontalPodAutoscaler"]["spec"]
    (metric,) = scaler["metrics"]
    assert metric["pods"] == {
        "metric": {"name": "audiohook_active_calls"},
        "target": {"type": "AverageValue", "averageValue": "70"},
    }
    assert scaler["scaleTargetRef"]["name"] == objects["Deployment"]["metadata"]["name"]
    assert environ_of(objects)["MAX_CALLS"]["value"] == "100"
    # With `replicas`, every `helm upgrade` would reset the number of pods.
    assert "replicas" not in objects["Deployment"]["spec"]
    alone = render("single")
    assert "HorizontalPodAutoscaler" not in alone
    assert alone["Deployment"]["spec"]["replicas"] == 1


def test_a_full_pod_is_not_evicted_for_being_unready() -> None:
    budget = render()["PodDisruptionBudget"]["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["unhealthyPodEvictionPolicy"] == "IfHealthyBudget"


@pytest.mark.parametrize("profile", ["existing-secret", "alb"])
def test_the_ingress_does_not_change_host_or_path(profile: str) -> None:
    objects = render(profile, "host=voice.example.org", "path=/bots/one")
    (rule,) = objects["Ingress"]["spec"]["rules"]
    assert rule["host"] == "voice.example.org"
    assert environ_of(objects)["AUDIOHOOK_AUTHORITY"]["value"] == rule["host"]
    assert objects["Ingress"]["spec"]["tls"][0]["hosts"] == ["voice.example.org"]
    # Only the path of the calls is public; /metrics is not.
    assert [(one["path"], one["pathType"]) for one in rule["http"]["paths"]] == [
        ("/bots/one", "Exact")
    ]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    assert backend["name"] == objects["Service"]["metadata"]["name"]
    assert backend["port"]["name"] in {one["name"] for one in objects["Service"]["spec"]["ports"]}
    for annotation in objects["Ingress"]["metadata"]["annotations"]:
        assert not re.search("rewrite|upstream-vhost|app-root", annotation)


def test_nginx_keeps_long_calls_and_retries_only_refused_ones() -> None:
    prefix = "nginx.ingress.kubernetes.io/proxy-"
    annotations = render()["Ingress"]["metadata"]["annotations"]
    assert int(annotations[f"{prefix}read-timeout"]) >= 3600
    assert int(annotations[f"{prefix}send-timeout"]) >= 3600
    assert annotations[f"{prefix}buffering"] == "off"
    # A server can have accepted a request that timed out; the signature of this request cannot be
    # used again.
    assert set(annotations[f"{prefix}next-upstream"].split()) == {"error", "http_503"}


@pytest.mark.parametrize("name", ["rewrite-target", "upstream-vhost"])
def test_annotations_that_change_host_or_path_are_rejected(name: str) -> None:
    setting = rf"ingress.annotations.nginx\.ingress\.kubernetes\.io/{name}=/x"
    assert name in error_of(PRODUCTION, setting)


@pytest.mark.parametrize("profile", PROFILES)
def test_pods_run_with_restricted_permissions(profile: str) -> None:
    """The pods have the settings of the Pod Security Standard `restricted`, and more."""
    objects = render(profile)
    pod, bot = pod_of(objects)["spec"], bot_of(objects)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] >= 10000
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert bot["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert {kind for volume in pod["volumes"] for kind in volume} == {"name", "emptyDir", "secret"}
    assert pod["automountServiceAccountToken"] is False
    if "ServiceAccount" in objects:
        assert objects["ServiceAccount"]["automountServiceAccountToken"] is False
        assert objects["ServiceAccount"]["metadata"]["name"] == pod["serviceAccountName"]
    # Service links would set PIPECAT_GENESYS_PORT to tcp://...; the server reads this variable
    # as an option.
    assert pod["enableServiceLinks"] is False


def test_secret_values_are_only_in_the_secret() -> None:
    objects = render("alb")
    values = objects["Secret"]["stringData"]
    assert values["client-secret"] == "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"
    text = yaml.safe_dump({kind: one for kind, one in objects.items() if kind != "Secret"})
    for value in values.values():
        assert f": {value}\n" not in text
    environ = environ_of(objects)
    for name, key in (("GENESYS_API_KEY", "api-key"), ("REDIS_URL", "redis-url")):
        reference = environ[name]["valueFrom"]["secretKeyRef"]
        assert reference == {"name": objects["Secret"]["metadata"]["name"], "key": key}
        assert key in values


def test_the_client_secret_is_mounted_as_a_file() -> None:
    objects = render("alb")
    (volume,) = (one for one in pod_of(objects)["spec"]["volumes"] if "secret" in one)
    (mount,) = (one for one in bot_of(objects)["volumeMounts"] if one["name"] == volume["name"])
    assert volume["secret"]["secretName"] == objects["Secret"]["metadata"]["name"]
    (item,) = volume["secret"]["items"]
    assert item["key"] in objects["Secret"]["stringData"]
    where = environ_of(objects)["GENESYS_CLIENT_SECRET_FILE"]["value"]
    assert where == f"{mount['mountPath']}/{item['path']}"
    assert mount["readOnly"] is True
    assert volume["secret"]["defaultMode"] & 0o007 == 0


def test_a_changed_secret_creates_new_pods() -> None:
    def annotations(secret: str) -> Object:
        found: Object = pod_of(render("alb", f"secret.clientSecret={secret}"))["metadata"]
        return found["annotations"]  # type: ignore[no-any-return]

    assert annotations("b25l") != annotations("dHdv")
    assert annotations("b25l") == annotations("b25l")


def test_an_existing_secret_is_used_and_no_other_is_created() -> None:
    objects = render(PRODUCTION, "secret.existingSecret=mine", "secret.keys.apiKey=key")
    assert "Secret" not in objects
    reference = environ_of(objects)["GENESYS_API_KEY"]["valueFrom"]["secretKeyRef"]
    assert reference == {"name": "mine", "key": "key"}


def test_the_network_policy_allows_only_the_needed_connections() -> None:
    objects = render()
    policy = objects["NetworkPolicy"]["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    (port,) = bot_of(objects)["ports"]
    callers = []
    for rule in policy["ingress"]:
        assert rule["ports"] == [{"port": port["name"], "protocol": "TCP"}]
        callers += [one["namespaceSelector"]["matchLabels"] for one in rule["from"]]
    name = "kubernetes.io/metadata.name"
    assert callers == [{name: "ingress-nginx"}, {name: "monitoring"}]
    by_port = {rule["ports"][0]["port"]: rule for rule in policy["egress"]}
    assert set(by_port) == {53, 6379, 443}
    assert by_port[6379]["to"] == [
        {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "redis"}}}
    ]
    # The network 169.254.0.0/16 contains the cloud's metadata service, which returns credentials.
    v4, v6 = (one["ipBlock"] for one in by_port[443]["to"])
    assert v4["cidr"] == "0.0.0.0/0"
    assert "169.254.0.0/16" in v4["except"]
    # The IPv6 addresses of metadata services, such as fd00:ec2::254, are in fc00::/7.
    assert v6["cidr"] == "::/0"
    assert {"fc00::/7", "fe80::/10"} <= set(v6["except"])


def test_a_pod_can_serve_ipv6() -> None:
    objects = render()
    assert environ_of(objects)["PIPECAT_GENESYS_HOST"]["value"] == "0.0.0.0"
    assert "ipFamilyPolicy" not in objects["Service"]["spec"]
    objects = render(PRODUCTION, "bot.listen=::", "service.ipFamilyPolicy=PreferDualStack")
    assert environ_of(objects)["PIPECAT_GENESYS_HOST"]["value"] == "::"
    assert objects["Service"]["spec"]["ipFamilyPolicy"] == "PreferDualStack"


@pytest.mark.parametrize(
    ("profile", "setting", "message"),
    [
        (PRODUCTION, "host=", "host"),
        (PRODUCTION, "host=bot.example.com:8443", "host"),
        (PRODUCTION, "redis.enabled=false", "redis.enabled is false"),
        ("single", "replicas=2", "redis.enabled is false"),
        (PRODUCTION, "autoscaling.targetActiveCalls=41", "targetActiveCalls is 41"),
        (PRODUCTION, "autoscaling.minReplicas=11", "minReplicas is 11"),
        (PRODUCTION, "secret.existingSecret=", "secret.apiKey is empty"),
        ("alb", "secret.clientSecret=", "secret.clientSecret is empty"),
        ("alb", "secret.redisUrl=redis.example.com", "redisUrl"),
        (PRODUCTION, "drain.marginSeconds=10", "marginSeconds"),
        (PRODUCTION, "drain.second=10", "second"),
        (PRODUCTION, "bot.app=app.py", "app"),
    ],
)
def test_invalid_values_are_rejected_with_a_message(
    profile: str, setting: str, message: str
) -> None:
    assert message in error_of(profile, setting)


def test_the_environment_variables_are_options_of_the_server() -> None:
    from pipecat_genesys.cli.app import app

    serve = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    known: set[str] = set()
    for option in serve.params:
        names = option.envvar or []
        known.update([names] if isinstance(names, str) else names)
    prefix = "PIPECAT_GENESYS_"
    used = {name for name in environ_of(render()) if name.startswith(prefix)}
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    used |= set(re.findall(rf"{prefix}[A-Z_]+", dockerfile))
    assert len(used) >= 4
    assert used <= known
    assert bot_of(render())["args"][0] == serve.name


def test_the_tag_of_the_image_is_the_version_of_the_package() -> None:
    cargo = (DEPLOY.parent / "Cargo.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.*)"$', cargo, re.MULTILINE)
    assert version is not None
    assert bot_of(render())["image"] == f"pipecat-genesys:{version[1]}"
    digest = f"sha256:{'0' * 64}"
    pinned = render(PRODUCTION, "image.repository=r.example.com/bot", f"image.digest={digest}")
    assert bot_of(pinned)["image"] == f"r.example.com/bot@{digest}"
