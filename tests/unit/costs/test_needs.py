"""What the nodes of published definitions ask of their models, whatever else is among them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas.workflow.loading import load
from streams.app.costing import needs_of

SUPPORT = Path("workflows/customer_support_advanced.yaml")


@pytest.mark.parametrize("definition", ["null", "[]", "{}", "{", '{"workflow": 7}', '{"workflow": {"nodes": [null]}}', '"text"'])
@pytest.mark.parametrize("types", ["null", "[1]", "{"])
def test_what_is_no_definition_is_passed_over(definition: str, types: str):
    good = {
        "name": "support",
        "version": "1.0.0",
        "definition": load(SUPPORT)[0].model_dump_json(),
        "agent_types": json.dumps({"classifier": "simple"}),
    }
    bad = {"name": "bad", "version": "1", "definition": definition, "agent_types": types}
    assert needs_of([bad, good, {**bad, "agent_types": "{}"}]) == needs_of([good])
    assert needs_of([good])
