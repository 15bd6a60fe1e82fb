"""What the environment says, checked once. Nothing is read at import; nobody else reads the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from urllib.parse import urlsplit

from schemas.bounds import MOST_USD, USD_DIGITS
from schemas.shown import masked

DEFAULT_WORKFLOW = "customer_support_advanced"
PARTITIONS = 12
PARTITIONS_EMBEDDED = 4
CONVERSATION_TTL_S = 30 * 86_400
YEAR_S = 365 * 86_400
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
MOST_DIGITS = 18
"""Of a whole number."""
SHOWN = 80
"""Characters of a value that a fault repeats."""
PROFILES = ("fast", "balanced", "powerful")
PATIENCE = tuple(f"HIL_LLM_{limit}_SECONDS" for limit in ("CONNECT", "FIRST_TOKEN", "TOTAL"))
EMBEDDINGS = tuple(f"HIL_EMBEDDINGS_{name}" for name in ("MODEL", "BASE_URL", "API_KEY", "DIMENSIONS"))


class SettingsError(ValueError):
    """The environment cannot be used. The message lists every fault with its remedy."""

    def __init__(self, faults: list[str]) -> None:
        # Faults quote what was set, and a password may be in any of it.
        self.faults = tuple(map(masked, faults))
        super().__init__("\n".join(self.faults))


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting, one field a variable. An empty variable counts as not set."""

    kafka_bootstrap: str | None = None
    """HIL_KAFKA_BOOTSTRAP: `host:port,…` of a Kafka to use instead of the embedded one."""
    database_url: str | None = field(default=None, repr=False)
    """HIL_DATABASE_URL: `postgresql://…` of a database to use instead of the embedded one."""
    data: Path = Path(".hil")
    """HIL_DATA: where the embedded parts keep their data."""
    kafka_port: int | None = None
    """HIL_KAFKA_PORT: port of the embedded Kafka; a free one when not set."""
    postgres_port: int | None = None
    """HIL_POSTGRES_PORT: port of the embedded Postgres; a free one when not set."""
    partitions: int | None = None
    """HIL_PARTITIONS: partitions of each topic; see `topic_partitions` for the default."""
    replication: int | None = None
    """HIL_REPLICATION: copies of each partition; as many as there are brokers, at most three, when not set."""
    default_workflow: str = DEFAULT_WORKFLOW
    """HIL_DEFAULT_WORKFLOW: name or name@version, for messages that name no workflow."""
    message_workflows: tuple[str, ...] | None = None
    """HIL_MESSAGE_WORKFLOWS: names of workflows that a message may ask for beside the default; None: any."""
    instance: str | None = None
    """HIL_INSTANCE: a name this process keeps over restarts and shares with no other: it gets its partitions back at once."""
    session_timeout_ms: int = 3_000
    """HIL_SESSION_TIMEOUT_MS: how long a process may be silent before others take its partitions over."""
    standby: bool = False
    """HIL_STANDBY: on or off; follow the states of partitions that others own, to take them over sooner."""
    records_mib: int = 128
    """HIL_RECORDS_MIB: MiB of records that a process has fetched and is not done with."""
    metrics: str | None = None
    """HIL_METRICS: `host:port` at which a process serves its metrics to Prometheus; nowhere when not set."""
    conversation_ttl_s: int = CONVERSATION_TTL_S
    """HIL_CONVERSATION_TTL: how long a conversation may be idle before its state is forgotten."""
    node_concurrency: int | None = None
    """HIL_NODE_CONCURRENCY: tasks of one partition a node worker has in hand at once; by agent type when not set."""
    daily_budget: Decimal | None = None
    """HIL_DAILY_BUDGET: US dollars that all workflows together may spend in a UTC day."""
    monthly_budget: Decimal | None = None
    """HIL_MONTHLY_BUDGET: the same for a UTC month."""
    llm_base_url: str | None = field(default=None, repr=False)
    """HIL_LLM_BASE_URL: any OpenAI-compatible endpoint."""
    llm_api_key: str | None = field(default=None, repr=False)
    """HIL_LLM_API_KEY: the key for HIL_LLM_BASE_URL, if it wants one."""
    openai_api_key: str | None = field(default=None, repr=False)
    """OPENAI_API_KEY: use OpenAI itself."""
    openai_base_url: str | None = field(default=None, repr=False)
    """HIL_OPENAI_BASE_URL: a proxy in front of OpenAI, with the version: ends in /v1."""
    anthropic_api_key: str | None = field(default=None, repr=False)
    """ANTHROPIC_API_KEY: use Anthropic itself."""
    anthropic_base_url: str | None = field(default=None, repr=False)
    """HIL_ANTHROPIC_BASE_URL: a proxy in front of Anthropic."""
    patience: Mapping[str, str] = field(default_factory=dict)
    """HIL_LLM_CONNECT_SECONDS, HIL_LLM_FIRST_TOKEN_SECONDS, HIL_LLM_TOTAL_SECONDS: variable → value, only those that are set."""
    composio_base_url: str | None = field(default=None, repr=False)
    """HIL_COMPOSIO_BASE_URL: an endpoint that speaks Composio's v3.1 wire."""
    composio_api_key: str | None = field(default=None, repr=False)
    """COMPOSIO_API_KEY: use Composio itself, or the key for HIL_COMPOSIO_BASE_URL."""
    models: Mapping[str, str] = field(default_factory=dict)
    """HIL_MODEL_FAST, HIL_MODEL_BALANCED, HIL_MODEL_POWERFUL: profile → model, only those that are set."""
    catalog: Path | None = None
    """HIL_CATALOG: a catalog.yaml that changes models, prices and profiles."""
    embeddings: Mapping[str, str] = field(default_factory=dict, repr=False)
    """HIL_EMBEDDINGS_MODEL, _BASE_URL, _API_KEY, _DIMENSIONS: variable → value, only those that are set."""

    @property
    def topic_partitions(self) -> int:
        """Partitions to create topics with: few on the embedded broker, because each costs it files and memory."""
        return self.partitions or (PARTITIONS if self.kafka_bootstrap else PARTITIONS_EMBEDDED)

    def environment(self) -> dict[str, str]:
        """The variables of models and tools again, for parts that are configured by them."""
        values = {
            "HIL_LLM_BASE_URL": self.llm_base_url,
            "HIL_LLM_API_KEY": self.llm_api_key,
            "OPENAI_API_KEY": self.openai_api_key,
            "HIL_OPENAI_BASE_URL": self.openai_base_url,
            "ANTHROPIC_API_KEY": self.anthropic_api_key,
            "HIL_ANTHROPIC_BASE_URL": self.anthropic_base_url,
            **self.patience,
            "HIL_COMPOSIO_BASE_URL": self.composio_base_url,
            "COMPOSIO_API_KEY": self.composio_api_key,
            **{f"HIL_MODEL_{profile.upper()}": model for profile, model in self.models.items()},
            **self.embeddings,
        }
        return {name: value for name, value in values.items() if value}

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Read and check all variables. Raises SettingsError with every fault at once."""
        reader = _Reader(environ)
        settings = cls(
            kafka_bootstrap=reader.bootstrap("HIL_KAFKA_BOOTSTRAP"),
            database_url=reader.url("HIL_DATABASE_URL", ("postgresql", "postgres"), "postgresql://user:password@host:5432/name"),
            data=Path(reader.text("HIL_DATA") or ".hil"),
            kafka_port=reader.number("HIL_KAFKA_PORT", 1, 65535),
            postgres_port=reader.number("HIL_POSTGRES_PORT", 1, 65535),
            partitions=reader.number("HIL_PARTITIONS", 1, 10_000),
            replication=reader.number("HIL_REPLICATION", 1, 32_767),
            default_workflow=reader.text("HIL_DEFAULT_WORKFLOW") or DEFAULT_WORKFLOW,
            message_workflows=reader.workflows("HIL_MESSAGE_WORKFLOWS"),
            instance=reader.text("HIL_INSTANCE"),
            session_timeout_ms=reader.number("HIL_SESSION_TIMEOUT_MS", 500, 300_000) or 3_000,
            standby=reader.switch("HIL_STANDBY"),
            records_mib=reader.number("HIL_RECORDS_MIB", 16, 65_536) or 128,
            metrics=reader.listen("HIL_METRICS"),
            conversation_ttl_s=reader.duration("HIL_CONVERSATION_TTL", 10 * YEAR_S) or CONVERSATION_TTL_S,
            node_concurrency=reader.number("HIL_NODE_CONCURRENCY", 1, 1_000),
            daily_budget=reader.dollars("HIL_DAILY_BUDGET"),
            monthly_budget=reader.dollars("HIL_MONTHLY_BUDGET"),
            llm_base_url=reader.url("HIL_LLM_BASE_URL", ("http", "https"), "http://localhost:11434/v1"),
            llm_api_key=reader.text("HIL_LLM_API_KEY"),
            openai_api_key=reader.text("OPENAI_API_KEY"),
            openai_base_url=reader.url("HIL_OPENAI_BASE_URL", ("http", "https"), "https://proxy.example/v1"),
            anthropic_api_key=reader.text("ANTHROPIC_API_KEY"),
            anthropic_base_url=reader.url("HIL_ANTHROPIC_BASE_URL", ("http", "https"), "https://proxy.example"),
            patience={name: value for name in PATIENCE if (value := reader.seconds(name, 0.05, 3_600))},
            composio_base_url=reader.url("HIL_COMPOSIO_BASE_URL", ("http", "https"), "http://localhost:8700"),
            composio_api_key=reader.text("COMPOSIO_API_KEY"),
            catalog=reader.file("HIL_CATALOG"),
            embeddings={name: value for name in EMBEDDINGS if (value := reader.text(name))},
            models={name: model for name in PROFILES if (model := reader.text(f"HIL_MODEL_{name.upper()}"))},
        )
        if settings.kafka_port is not None and settings.kafka_port == settings.postgres_port:
            reader.faults.append(f"HIL_KAFKA_PORT and HIL_POSTGRES_PORT are both {settings.kafka_port}: give each its own port")
        if reader.faults:
            raise SettingsError(reader.faults)
        return settings


VARIABLES = frozenset(
    {
        "HIL_KAFKA_BOOTSTRAP",
        "HIL_DATABASE_URL",
        "HIL_DATA",
        "HIL_KAFKA_PORT",
        "HIL_POSTGRES_PORT",
        "HIL_PARTITIONS",
        "HIL_REPLICATION",
        "HIL_DEFAULT_WORKFLOW",
        "HIL_MESSAGE_WORKFLOWS",
        "HIL_INSTANCE",
        "HIL_SESSION_TIMEOUT_MS",
        "HIL_STANDBY",
        "HIL_METRICS",
        "HIL_RECORDS_MIB",
        "HIL_CONVERSATION_TTL",
        "HIL_NODE_CONCURRENCY",
        "HIL_DAILY_BUDGET",
        "HIL_MONTHLY_BUDGET",
        "HIL_LLM_BASE_URL",
        "HIL_LLM_API_KEY",
        "OPENAI_API_KEY",
        "HIL_OPENAI_BASE_URL",
        "ANTHROPIC_API_KEY",
        "HIL_ANTHROPIC_BASE_URL",
        *PATIENCE,
        "HIL_COMPOSIO_BASE_URL",
        "COMPOSIO_API_KEY",
        "HIL_CATALOG",
        *(f"HIL_MODEL_{name.upper()}" for name in PROFILES),
        *EMBEDDINGS,
    }
)
"""Every variable `Settings.from_environment` reads."""


class _Reader:
    """Reads variables one by one and remembers what is wrong with each."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.faults: list[str] = []

    def text(self, name: str) -> str | None:
        return self.environ.get(name, "").strip() or None

    def file(self, name: str) -> Path | None:
        text = self.text(name)
        if text is not None and not Path(text).is_file():
            self.faults.append(f"{name} is {_short(text)}, which is no file: set it to the path of one, or unset it")
        return Path(text) if text else None

    def number(self, name: str, low: int, high: int) -> int | None:
        text = self.text(name)
        if text is None:
            return None
        if not (_is_number(text) and low <= int(text) <= high):
            self.faults.append(f"{name} is {_short(text)}: set it to a whole number from {low} to {high}, or unset it")
            return None
        return int(text)

    def workflows(self, name: str) -> tuple[str, ...] | None:
        """`any`, which is None; `default`, which is none beside it; or names with commas."""
        text = self.text(name)
        if text in (None, "any"):
            return None
        if text == "default":
            return ()
        names = tuple(part.strip() for part in (text or "").split(","))
        if not all(names) or any("@" in part for part in names):
            self.faults.append(
                f"{name} is {text!r}: set it to any, to default, or to names of workflows with commas and without versions, "
                "as in support,returns"
            )
            return None
        return names

    def switch(self, name: str) -> bool:
        text = self.text(name)
        if text not in (None, "on", "off"):
            self.faults.append(f"{name} is {_short(text)}: set it to on or off, or unset it, which is off")
        return text == "on"

    def duration(self, name: str, high: int) -> int | None:
        """In seconds."""
        text = self.text(name)
        if text is None:
            return None
        number, unit = text[:-1], text[-1]
        if not (_is_number(number) and unit in UNITS and 0 < int(number) * UNITS[unit] <= high):
            self.faults.append(
                f"{name} is {_short(text)}: set it to a whole number with s, m, h or d, as in 30d, "
                f"at most {high // UNITS['d']}d, or unset it"
            )
            return None
        return int(number) * UNITS[unit]

    def dollars(self, name: str) -> Decimal | None:
        text = self.text(name)
        if text is None:
            return None
        try:
            amount = Decimal(text.removeprefix("$"))
        except InvalidOperation:
            amount = Decimal("NaN")
        if not (amount.is_finite() and 0 <= amount <= MOST_USD and len(text) <= USD_DIGITS):  # the digits before they are used
            self.faults.append(
                f"{name} is {_short(text)}: set it to US dollars, such as 100 or 2.50, at most {MOST_USD}, or unset it"
            )
            return None
        return amount

    def seconds(self, name: str, low: float, high: float) -> str | None:
        text = self.text(name)
        if text is None:
            return None
        try:
            usable = low <= float(text) <= high
        except ValueError:
            usable = False
        if not usable:
            self.faults.append(f"{name} is {_short(text)}: set it to seconds from {low:g} to {high:g}, or unset it")
            return None
        return text

    def url(self, name: str, schemes: tuple[str, ...], example: str) -> str | None:
        text = self.text(name)
        if text is None:
            return None
        try:
            parts = urlsplit(text)
            usable = parts.scheme in schemes and (parts.port is None or parts.port > 0)
            usable = usable and bool(parts.hostname or parts.query or "postgresql" in schemes)
            usable = usable and "@" not in parts.path  # of a password with a / that is not written as %2F
        except ValueError:
            usable = False
        if not usable:
            # The value may hold a password, so it is not repeated.
            self.faults.append(f"{name} is not a URL that starts with {schemes[0]}://: set it to, for example, {example}")
            return None
        return text

    def listen(self, name: str) -> str | None:
        text = self.text(name)
        if text is None:
            return None
        host, _, port = text.rpartition(":")
        if not (host and _is_number(port) and int(port) <= 65535 and not set(host) & set("/ ,@")):
            self.faults.append(
                f"{name} is {_short(text)}: set it to host:port, as in 127.0.0.1:9464, with port 0 for a free one, or unset it"
            )
            return None
        return text

    def bootstrap(self, name: str) -> str | None:
        text = self.text(name)
        if text is None:
            return None
        for address in text.split(","):
            if "@" in address:
                self.faults.append(f"{name} holds an @: write host:port alone; a user and a password are no part of it")
                return None
            host, colon, port = address.strip().rpartition(":")
            if not (host and colon and _is_number(port) and 0 < int(port) <= 65535 and "/" not in host):
                self.faults.append(
                    f"{name} holds {_short(address.strip())}: write host:port, several with commas, as in localhost:9092"
                )
                return None
        return ",".join(address.strip() for address in text.split(","))


def _is_number(text: str) -> bool:
    """Digits alone, and so few that reading them costs nothing."""
    return text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS


def _short(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…")
