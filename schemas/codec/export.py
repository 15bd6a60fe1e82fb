"""Schemas as files, for other languages and for the day a former version must be read."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from schemas.codec.avro_schema import record_schema
from schemas.codec.compatibility import check_compatibility
from schemas.codec.registry import FOLDER, Model, event_types, fingerprint


class Incompatible(ValueError):
    """The models cannot read what was written under the versions in the folder."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def export(folder: Path = FOLDER, models: Mapping[str, Model] | None = None) -> list[Path]:
    """Write today's schemas under `folder` and return the files that changed. A version that is replaced goes into its history.

    Raises Incompatible, and writes nothing, when a version already there could not be read any more.
    """
    models = event_types() if models is None else models
    if faults := check_compatibility(folder, models):
        raise Incompatible(faults)
    folder.mkdir(parents=True, exist_ok=True)
    return [folder / f"{kind}.avsc" for kind, model in models.items() if _write(folder, kind, text(model))]


def outdated(folder: Path = FOLDER) -> list[str]:
    """Types whose file under `folder` is not what the models say."""
    files = {kind: folder / f"{kind}.avsc" for kind in event_types()}
    return [
        kind for kind, file in files.items() if not file.exists() or file.read_text(encoding="utf-8") != text(event_types()[kind])
    ]


def text(model: type[BaseModel]) -> str:
    """The schema file of `model`: indented JSON, fields documented as in the source."""
    schema = record_schema(model)
    _document(schema, model)
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _write(folder: Path, kind: str, new: str) -> bool:
    file = folder / f"{kind}.avsc"
    old = file.read_text(encoding="utf-8") if file.exists() else None
    if old == new:
        return False
    if old is not None and (former := fingerprint(json.loads(old))) != fingerprint(json.loads(new)):
        kept = folder / "history" / kind / f"{former.hex()}.avsc"
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(old, encoding="utf-8")
    file.write_text(new, encoding="utf-8")
    return True


def _document(schema: dict[str, Any], model: type[BaseModel]) -> None:
    docs = _field_docs(model)
    for field in schema["fields"]:
        if field["name"] in docs:
            field["doc"] = docs[field["name"]]


def _field_docs(model: type[BaseModel]) -> dict[str, str]:
    """Field → the text under it, of the model and what it inherits from."""
    docs: dict[str, str] = {}
    for cls in reversed([cls for cls in model.__mro__ if issubclass(cls, BaseModel) and cls is not BaseModel]):
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        assert isinstance(definition, ast.ClassDef), f"the source of {cls.__name__} is a class"
        for field, below in zip(definition.body, definition.body[1:], strict=False):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(doc))):
                    docs[name] = inspect.cleandoc(doc)
                case _:
                    continue
    return docs
