"""Data that cannot be used is refused in words, before a server trips over it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from connectors.embedded import kafka, ports, postgres
from connectors.embedded.errors import EmbeddedError
from connectors.embedded.logs import describe_end

CARD = "#Mon\n#\nversion=1\nnode.id=1\ncluster.id=aGlsLWFnZW50cy1jb21wbw\ndirectory.id=x\n"


@pytest.mark.parametrize(
    "damage", ["", "garbage", "version=1\n", CARD.replace("node.id=1", "node.id=2"), CARD.replace("cluster.id", "x"), "\x00" * 90]
)
def test_a_damaged_meta_properties_is_refused(tmp_path: Path, damage: str) -> None:
    """Kafka's own message is a stack trace; this one says what to move where."""
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "meta.properties").write_text(damage)
    with pytest.raises(EmbeddedError, match=rf"damaged: .*meta.properties.* move {tmp_path} away"):
        kafka.check_storage(tmp_path)


def test_topics_without_meta_properties_are_not_formatted_over(tmp_path: Path) -> None:
    """Formatting would give the folder a new identity and orphan what is in it."""
    (tmp_path / "log" / "customer.messages-0").mkdir(parents=True)
    with pytest.raises(EmbeddedError, match="is missing"):
        kafka.check_storage(tmp_path)


@pytest.mark.parametrize("card", [None, CARD, CARD.replace("\n", "\r\n")])
def test_a_new_and_a_sound_folder_are_accepted(tmp_path: Path, card: str | None) -> None:
    """Nothing yet, or a card as Kafka writes it."""
    if card:
        (tmp_path / "log").mkdir()
        (tmp_path / "log" / "meta.properties").write_text(card, newline="")
    kafka.check_storage(tmp_path)


@pytest.mark.parametrize(("version", "words"), [("16\n", "is of Postgres 16"), ("x", "is damaged"), (None, "is damaged")])
def test_a_database_of_another_version_or_without_one_is_refused(tmp_path: Path, version: str | None, words: str) -> None:
    """Postgres would refuse as well, in a log nobody reads."""
    (tmp_path / "data").mkdir()
    (tmp_path / "password").write_text("x")
    if version:
        (tmp_path / "data" / "PG_VERSION").write_text(version)
    with pytest.raises(EmbeddedError, match=rf"{words}.* move {tmp_path} away"):
        postgres.check_storage(tmp_path)


def test_a_lost_password_is_told(tmp_path: Path) -> None:
    """It is kept beside the data."""
    with pytest.raises(EmbeddedError, match=r"password, .*, is missing"):
        postgres.check_storage(tmp_path)


@pytest.mark.parametrize(
    ("code", "log", "words"),
    [
        (1, "java.io.IOException: No space left on device", "is full"),
        (1, "FATAL: could not open file: Permission denied", "belongs to another user"),
        (-9, "", "memory"),
        (1, "INFO fine\nERROR it is broken\n\tat some.Where(line)\nINFO bye", "ERROR it is broken"),
        (3, "", "ended with code 3"),
    ],
)
def test_an_end_is_explained_from_the_log(tmp_path: Path, code: int, log: str, words: str) -> None:
    """The cause first, then what to do."""
    file = tmp_path / "kafka.log"
    file.write_text(log)
    assert words in str(describe_end("Kafka", code, tmp_path / "kafka", tmp_path, file))


def test_a_busy_port_is_refused_with_the_variable_that_names_it() -> None:
    """The way out is in the message."""
    with socket.socket() as busy:
        busy.bind((ports.LOOPBACK, 0))
        busy.listen()
        with pytest.raises(EmbeddedError, match=r"HIL_KAFKA_PORT to another"):
            ports.require_free(busy.getsockname()[1], "HIL_KAFKA_PORT", "The embedded Kafka")


def test_free_ports_are_different() -> None:
    """Two are chosen at once for a broker."""
    assert len(set(ports.free_ports(20))) == 20


@pytest.mark.parametrize(
    ("path", "text"),
    [("/a b/c", "/a b/c"), ("C:\\x", "C:\\u005cx"), ("/größe", "/gr\\u00f6\\u00dfe"), ("/😀", "/\\ud83d\\ude00")],
)
def test_a_path_survives_java_properties(path: str, text: str) -> None:
    """Home folders have all kinds of names."""
    assert kafka.escaped(Path(path)) == text
