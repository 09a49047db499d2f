"""The examples for several machines: the flags are those with which the tests start replicas; the metrics exist."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from longva_demo.chat.prefix_cache import PrefixCache
from longva_demo.chat.remote.counts import Counts
from longva_demo.quotas import Quotas
from longva_demo.settings import SETTINGS, Settings, variable_of
from longva_demo.telemetry import Metrics
from tests.support.cluster import REPLICA_FLAGS, ROUTER_FLAGS

ROOT = Path(__file__).parents[1]
CLUSTER = ROOT / "deploy" / "cluster"
COMPOSE: dict[str, Any] = yaml.safe_load((CLUSTER / "compose.yaml").read_text("utf-8"))
KUBERNETES: list[dict[str, Any]] = list(
    yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "longva.yaml").read_text("utf-8"))
)
SERVE, SCALE = (file.read_text("utf-8") for file in (CLUSTER / "serve.sh", ROOT / "docs" / "scale.md"))
# What a replica needs for the same answers; the other flags of the tests are for CPUs.
NEEDED = {
    "--enable-scale-out",
    "--enable-prompt-tokens-details",
    "--generation-config",
    "--chat-template",
    "--media-io-kwargs",
    "--structured-outputs-config",
}


def names(flags: Any) -> set[str]:
    return {flag.partition("=")[0] for flag in flags if flag.startswith("--")}


def containers() -> dict[str, dict[str, Any]]:
    """Of the Kubernetes example, by name."""
    templates = [one["spec"]["template"]["spec"] for one in KUBERNETES if "template" in one["spec"]]
    return {one["name"]: one for spec in templates for one in spec["containers"]}


def test_replicas_have_the_flags_of_the_tests() -> None:
    assert names(REPLICA_FLAGS) >= NEEDED
    assert names(shlex.split(SERVE.replace("\\\n", " "), comments=True)) >= NEEDED
    commands = re.findall(r"```sh\n(.*?)```", SCALE, re.DOTALL)
    assert any(names(shlex.split(command.replace("\\\n", " "), comments=True)) >= NEEDED for command in commands)
    settings = [value for name, _, value in (flag.partition("=") for flag in REPLICA_FLAGS) if value.startswith("{")]
    assert len(settings) == 2
    for text in (SERVE, SCALE):
        assert all(setting in text for setting in settings)


def test_routers_stick_to_a_replica() -> None:
    policy = "--policy=sticky_least_loaded"
    assert policy in ROUTER_FLAGS
    assert policy in COMPOSE["services"]["router"]["command"]
    assert policy in containers()["router"]["args"]


def test_the_router_knows_the_replicas() -> None:
    services = COMPOSE["services"]
    replicas = {name for name in services if name.startswith("replica-")}
    assert {f"http://{name}:8000" for name in replicas} <= {*services["router"]["command"]}
    assert {*services["router"]["depends_on"]} == replicas
    scraped = yaml.safe_load((CLUSTER / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    targets = {target for job in scraped for config in job["static_configs"] for target in config["targets"]}
    assert {f"{name}:8000" for name in replicas} <= targets
    [count] = [one["spec"]["replicas"] for one in KUBERNETES if one["kind"] == "StatefulSet"]
    assert {f"http://replica-{number}.replica:8000" for number in range(count)} <= {*containers()["router"]["args"]}


@pytest.mark.parametrize(
    "environment",
    [
        COMPOSE["services"]["page"]["environment"],
        {one["name"]: one.get("value", "") for one in containers()["page"]["env"]},
    ],
    ids=["compose", "kubernetes"],
)
def test_the_page_asks_the_router(environment: dict[str, str]) -> None:
    assert {*environment} <= {variable_of(one) for one in SETTINGS.values()}
    assert environment["LONGVA_ENGINE"] == "http://router:30000"
    assert "LONGVA_ENGINE_KEY" in environment


def test_only_the_page_is_published() -> None:
    published = {name: service["ports"] for name, service in COMPOSE["services"].items() if "ports" in service}
    assert published == {"page": ["7860:7860"], "grafana": ["127.0.0.1:3000:3000"]}
    policies = {one["metadata"]["name"] for one in KUBERNETES if one["kind"] == "NetworkPolicy"}
    assert policies == {"router", "replica"}


def test_the_files_that_are_mounted_exist() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            if volume.startswith("./"):
                assert (CLUSTER / volume.partition(":")[0]).is_file()


def test_the_dashboards_metrics_exist() -> None:
    figures = [*PrefixCache().figures(), *Counts().figures(is_up=True, num_replicas=1, context_length=1)]
    metrics = Metrics(lambda: 0, lambda: 0, lambda: figures, Quotas(Settings()))
    text = generate_latest(metrics.registry).decode()
    known = {name for name, kind in re.findall(r"^# TYPE (\w+) (\w+)", text, re.MULTILINE)}
    panels = json.loads((CLUSTER / "grafana" / "longva.json").read_text("utf-8"))["panels"]
    assert len(panels) >= 8
    used = {
        name for panel in panels for target in panel["targets"] for name in re.findall(r"longva_\w+", target["expr"])
    }
    assert used
    assert {name.removesuffix("_bucket") for name in used} <= known
