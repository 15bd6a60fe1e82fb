"""What was written stays readable; a change that would break this is refused before it is exported."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar

import pytest

from schemas.base import Event, Json, Usd
from schemas.codec import Undecodable, decode, encode, registry, single_object
from schemas.codec.avro_schema import record_schema
from schemas.codec.compatibility import check_compatibility, compare
from schemas.codec.export import Incompatible, export, outdated
from schemas.events import TimerFired


class First(Event):
    TYPE: ClassVar[str] = "hil.growing.thing"

    name: str
    price: Usd
    details: Json = None


class Second(First):
    """The same event, grown by one optional field."""

    note: str = "none"


class Broken(First):
    """A field without a default: old records have no value for it."""

    note: str


FIRST: dict[str, Any] = {First.TYPE: First}
SECOND: dict[str, Any] = {First.TYPE: Second}


def test_the_schemas_checked_in_are_those_of_the_events() -> None:
    """Otherwise: `hil schemas export schemas/avro`, and `python tests/unit/schemas/test_golden.py`."""
    assert outdated() == []


def test_todays_events_read_every_version_that_was_checked_in() -> None:
    assert check_compatibility() == []


def test_an_optional_field_may_be_added_and_the_former_version_is_kept(tmp_path: Path) -> None:
    export(tmp_path, FIRST)
    before = (tmp_path / "hil.growing.thing.avsc").read_text()
    assert [file.name for file in export(tmp_path, SECOND)] == ["hil.growing.thing.avsc"]
    (kept,) = (tmp_path / "history" / "hil.growing.thing").iterdir()
    assert kept.read_text() == before
    assert kept.stem == registry.fingerprint(json.loads(before)).hex()
    assert check_compatibility(tmp_path, SECOND) == []


def test_a_second_export_changes_nothing(tmp_path: Path) -> None:
    export(tmp_path, SECOND)
    assert export(tmp_path, SECOND) == []


def test_a_required_field_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    export(tmp_path, FIRST)
    before = (tmp_path / "hil.growing.thing.avsc").read_text()
    with pytest.raises(Incompatible, match=r"`note`.*optional fields only"):
        export(tmp_path, {First.TYPE: Broken})
    assert (tmp_path / "hil.growing.thing.avsc").read_text() == before


def test_the_check_reaches_back_beyond_the_last_version(tmp_path: Path) -> None:
    """Transitive: the version before the last has no `note`, though the last one has."""
    export(tmp_path, FIRST)
    export(tmp_path, SECOND)
    (fault,) = check_compatibility(tmp_path, {First.TYPE: Broken})
    assert registry.fingerprint(record_schema(First)).hex() in fault


def test_an_event_type_cannot_disappear(tmp_path: Path) -> None:
    export(tmp_path, FIRST)
    (fault,) = check_compatibility(tmp_path, {})
    assert "hil.growing.thing: no event has this type" in fault


def _field(schema: dict[str, Any], name: str) -> dict[str, Any]:
    return next(field for field in schema["fields"] if field["name"] == name)


MISREADINGS: Mapping[str, Callable[[dict[str, Any]], object]] = {
    "another scale of money": lambda schema: _field(schema, "price")["type"].update(scale=2),
    "money as plain bytes": lambda schema: _field(schema, "price").update(type="bytes"),
    "JSON as plain text": lambda schema: _field(schema, "details").update(type="string"),
    "plain text as JSON": lambda schema: _field(schema, "name").update(type={"type": "string", "hil.json": True}),
}


@pytest.mark.parametrize("change", MISREADINGS.values(), ids=MISREADINGS)
def test_a_change_that_the_fingerprint_does_not_see_is_still_refused(change: Callable[[dict[str, Any]], object]) -> None:
    changed = deepcopy(record_schema(First))
    change(changed)
    assert registry.fingerprint(changed) == registry.fingerprint(record_schema(First))
    assert len(compare(changed, record_schema(First))) == 1


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder in the place of the schemas that were shipped."""
    monkeypatch.setattr(registry, "FOLDER", tmp_path)
    registry._former_versions.cache_clear()
    yield tmp_path
    registry._former_versions.cache_clear()


def test_a_record_of_a_former_version_is_read_with_todays_defaults(shipped: Path) -> None:
    """A field that went is ignored; a field that came has its default."""
    event = TimerFired(id="1", time_ms=2, conversation_id="c", timer_id="t", due_ms=3)
    former = record_schema(TimerFired)
    former["fields"].insert(1, {"name": "gone", "type": "string"})
    kept = shipped / "history" / TimerFired.TYPE / f"{registry.fingerprint(former).hex()}.avsc"
    kept.parent.mkdir(parents=True)
    kept.write_text(json.dumps(former))
    head, body = single_object.MARKER + registry.fingerprint(former), encode(event)[0][single_object.HEAD :]
    assert decode(head + body[:2] + b"\x06old" + body[2:]) == event


def test_a_fingerprint_nobody_knows_is_named(shipped: Path) -> None:
    value = single_object.MARKER + bytes(range(8)) + b"\x00"
    with pytest.raises(Undecodable, match=r"0001020304050607.*hil schemas export") as refused:
        decode(value)
    assert refused.value.code == "unknown_fingerprint"
