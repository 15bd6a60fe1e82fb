"""The environment: read once, checked whole, and told about in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path

import pytest

from connectors.settings import VARIABLES, Settings, SettingsError


class Watched(Mapping[str, str]):
    """An empty environment that remembers what was asked of it."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def test_the_list_of_variables_is_what_is_read() -> None:
    """Guides and docker-compose.yml are checked against VARIABLES, so it must be complete."""
    environment = Watched()
    Settings.from_environment(environment)
    assert environment.asked == VARIABLES


def test_an_empty_variable_counts_as_not_set() -> None:
    """docker-compose.yml passes variables on as empty when the host has none."""
    assert Settings.from_environment(dict.fromkeys(VARIABLES, " ")) == Settings()


def test_every_variable_arrives_in_its_field() -> None:
    """One field a variable."""
    settings = Settings.from_environment(
        {
            "HIL_KAFKA_BOOTSTRAP": "one:9092, two:9093",
            "HIL_DATABASE_URL": "postgresql://hil:secret@db/hil",
            "HIL_DATA": "/somewhere",
            "HIL_KAFKA_PORT": "19092",
            "HIL_POSTGRES_PORT": "15432",
            "HIL_PARTITIONS": "3",
            "HIL_REPLICATION": "2",
            "HIL_DEFAULT_WORKFLOW": "mine@1.0.0",
            "HIL_LLM_BASE_URL": "http://localhost:11434/v1",
            "HIL_LLM_API_KEY": "a",
            "OPENAI_API_KEY": "b",
            "HIL_OPENAI_BASE_URL": "https://proxy.example/v1",
            "ANTHROPIC_API_KEY": "d",
            "HIL_ANTHROPIC_BASE_URL": "https://proxy.example",
            "HIL_LLM_CONNECT_SECONDS": "0.5",
            "HIL_LLM_TOTAL_SECONDS": "90",
            "HIL_COMPOSIO_BASE_URL": "https://composio.example",
            "COMPOSIO_API_KEY": "c",
            "HIL_MODEL_FAST": "small",
            "HIL_MODEL_POWERFUL": "large",
            "HIL_STANDBY": "on",
            "HIL_METRICS": "[::1]:0",
            "HIL_CONVERSATION_TTL": "90m",
        }
    )
    assert settings == Settings(
        kafka_bootstrap="one:9092,two:9093",
        database_url="postgresql://hil:secret@db/hil",
        data=Path("/somewhere"),
        kafka_port=19092,
        postgres_port=15432,
        partitions=3,
        replication=2,
        default_workflow="mine@1.0.0",
        llm_base_url="http://localhost:11434/v1",
        llm_api_key="a",
        openai_api_key="b",
        openai_base_url="https://proxy.example/v1",
        anthropic_api_key="d",
        anthropic_base_url="https://proxy.example",
        patience={"HIL_LLM_CONNECT_SECONDS": "0.5", "HIL_LLM_TOTAL_SECONDS": "90"},
        composio_base_url="https://composio.example",
        composio_api_key="c",
        models={"fast": "small", "powerful": "large"},
        standby=True,
        metrics="[::1]:0",
        conversation_ttl_s=5_400,
    )


def test_all_faults_are_told_at_once() -> None:
    """Nobody wants to find them one start at a time."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"HIL_PARTITIONS": "many", "HIL_KAFKA_PORT": "70000", "HIL_LLM_BASE_URL": "localhost"})
    assert [fault.split()[0] for fault in caught.value.faults] == ["HIL_KAFKA_PORT", "HIL_PARTITIONS", "HIL_LLM_BASE_URL"]


@pytest.mark.parametrize(
    ("said", "named"), [("any", None), ("default", ()), ("support, returns", ("support", "returns")), ("support", ("support",))]
)
def test_messages_may_ask_for_any_workflow_or_for_those_that_are_named(said: str, named: tuple[str, ...] | None) -> None:
    assert Settings.from_environment({"HIL_MESSAGE_WORKFLOWS": said}).message_workflows == named


@pytest.mark.parametrize("said", ["support,", ",", "support@1.0.0"])
def test_a_list_of_workflows_with_holes_or_versions_is_refused(said: str) -> None:
    with pytest.raises(SettingsError, match=r"HIL_MESSAGE_WORKFLOWS .*support,returns"):
        Settings.from_environment({"HIL_MESSAGE_WORKFLOWS": said})


@pytest.mark.parametrize("ttl", ["0d", "30", "1w", "d", "-1d", "4000d", "1.5h", "٣d"])
def test_a_time_to_live_is_a_number_with_a_unit(ttl: str) -> None:
    with pytest.raises(SettingsError, match=r"HIL_CONVERSATION_TTL is .*30d"):
        Settings.from_environment({"HIL_CONVERSATION_TTL": ttl})


@pytest.mark.parametrize(
    "address", ["9464", ":9464", "localhost:", "localhost:-1", "localhost:65536", "http://localhost:1", "a:1,b:1"]
)
def test_a_place_to_listen_at_that_is_none_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(SettingsError, match=r"127\.0\.0\.1:9464"):
        Settings.from_environment({"HIL_METRICS": address})


@pytest.mark.parametrize(
    "address", ["localhost", "localhost:", ":9092", "localhost:0", "localhost:99999", "kafka://host:9092", "a:1,b"]
)
def test_a_bootstrap_that_is_no_address_is_refused_with_an_example(address: str) -> None:
    """A wrong address would otherwise show as a time-out much later."""
    with pytest.raises(SettingsError, match=r"HIL_KAFKA_BOOTSTRAP .*localhost:9092"):
        Settings.from_environment({"HIL_KAFKA_BOOTSTRAP": address})


@pytest.mark.parametrize("seconds", ["soon", "0", "-1", "nan", "inf", "3601"])
def test_a_limit_that_is_no_time_is_refused(seconds: str) -> None:
    """An endless wait is no setting, it is a mistake."""
    with pytest.raises(SettingsError, match=r"HIL_LLM_TOTAL_SECONDS .*seconds from"):
        Settings.from_environment({"HIL_LLM_TOTAL_SECONDS": seconds})


@pytest.mark.parametrize("url", ["mysql://u:hunter2@h/d", "hunter2", "postgresql://u:hunter2@h:port/d"])
def test_a_refused_database_url_is_not_repeated(url: str) -> None:
    """It may hold a password, and messages end up in logs."""
    with pytest.raises(SettingsError, match="HIL_DATABASE_URL") as caught:
        Settings.from_environment({"HIL_DATABASE_URL": url})
    assert "hunter2" not in str(caught.value)


def test_secrets_are_not_in_the_printed_settings() -> None:
    """A debugging print must not leak keys."""
    keys = {"llm_api_key": "hunter2", "openai_api_key": "hunter3", "composio_api_key": "hunter4", "anthropic_api_key": "hunter5"}
    printed = repr(Settings(database_url="hunter1", **keys))
    assert "hunter" not in printed


def test_both_parts_on_one_port_are_refused() -> None:
    """One of them would fail to listen, and which one is chance."""
    with pytest.raises(SettingsError, match="both 9000"):
        Settings.from_environment({"HIL_KAFKA_PORT": "9000", "HIL_POSTGRES_PORT": "9000"})


@pytest.mark.parametrize(
    ("settings", "partitions"), [(Settings(), 4), (Settings(kafka_bootstrap="k:1"), 12), (Settings(partitions=7), 7)]
)
def test_partitions_are_few_when_embedded(settings: Settings, partitions: int) -> None:
    """Each partition costs files and memory on a laptop."""
    assert settings.topic_partitions == partitions


@pytest.mark.parametrize(("text", "amount"), [("100", "100"), ("2.50", "2.50"), ("$0.1", "0.1"), ("0", "0"), ("", None)])
def test_a_budget_is_an_amount_of_dollars(text: str, amount: str | None) -> None:
    settings = Settings.from_environment({"HIL_DAILY_BUDGET": text, "HIL_MONTHLY_BUDGET": text})
    assert settings.daily_budget == settings.monthly_budget == (None if amount is None else Decimal(amount))


@pytest.mark.parametrize("text", ["lots", "-1", "NaN", "Infinity", "1,5", "1 USD"])
def test_a_budget_that_is_no_amount_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SettingsError, match=r"HIL_DAILY_BUDGET is .*such as 100 or 2.50"):
        Settings.from_environment({"HIL_DAILY_BUDGET": text})


NUMBERS = [
    "HIL_KAFKA_PORT",
    "HIL_POSTGRES_PORT",
    "HIL_PARTITIONS",
    "HIL_REPLICATION",
    "HIL_SESSION_TIMEOUT_MS",
    "HIL_NODE_CONCURRENCY",
    "HIL_CONVERSATION_TTL",
    "HIL_DAILY_BUDGET",
    "HIL_MONTHLY_BUDGET",
    "HIL_LLM_CONNECT_SECONDS",
    "HIL_LLM_FIRST_TOKEN_SECONDS",
    "HIL_LLM_TOTAL_SECONDS",
    "HIL_METRICS",
    "HIL_KAFKA_BOOTSTRAP",
]
BEYOND = [
    "1e999999",
    "1e900000",
    "nan",
    "inf",
    "-1",
    "9" * 900_000,
    "0." + "0" * 900_000 + "1",
    "true",
    "h:" + "9" * 5_000,
    "1:2d",
]


@pytest.mark.parametrize("value", BEYOND, ids=lambda value: value[:12])
def test_numbers_beyond_their_bounds_are_faults_of_their_variables_all_at_once(value: str):
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment(dict.fromkeys(NUMBERS, value))
    assert sorted(fault.split(" ", 1)[0] for fault in refused.value.faults) == sorted(NUMBERS)
    assert all(len(fault) < 300 for fault in refused.value.faults)
