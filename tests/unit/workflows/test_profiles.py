"""`hil workflows validate` knows the profiles of this installation: the catalogue's, HIL_CATALOG's, and the workflow's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from agents.router.catalogue import Catalogue
from agents.router.faults import CatalogueError
from connectors.cli.workflows import build
from connectors.settings import Settings
from schemas.workflow.loading import load
from streams.app.checks import LateWorkbench
from tests.unit.workflows.flows import flow
from tests.unit.workflows.test_cli import Published

TRIAGE = {"models": {"gpt-4": None}, "profiles": {"triage": {"primary": ["gpt-3.5-turbo"], "max_cost_usd": "0.002"}}}


def written(folder: Path, profile: str, **profiles: Any) -> Path:
    text = json.loads(flow("a>END", nodes={"a": {"config": {"model_profile": profile}}}))
    file = folder / "flow.yaml"
    file.write_text(json.dumps({"llm_profiles": profiles, **text} if profiles else text, indent=1), encoding="utf-8")
    return file


def validated(file: Path, catalog: Any = None) -> Result:
    own = None
    if catalog is not None:
        own = file.with_name("catalog.yaml")
        own.write_text(json.dumps(catalog), encoding="utf-8")
    settings = Settings(data=file.parent, catalog=own)
    return CliRunner().invoke(build(LateWorkbench(settings), Published()), ["validate", str(file)])  # type: ignore[arg-type]


def test_a_profile_of_a_custom_catalogue_is_accepted_with_it_and_refused_without(tmp_path: Path):
    file = written(tmp_path, "triage")
    assert validated(file, TRIAGE).exit_code == 0
    refused = validated(file)
    assert refused.exit_code == 1
    assert "`a` asks for the model profile `triage`" in refused.stdout


def test_an_unknown_profile_lists_those_there_are(tmp_path: Path):
    """Also when one looks alike: the right one may be another."""
    said = validated(written(tmp_path, "triag"), TRIAGE).stdout
    assert "did you mean `triage`? There are `balanced`, `fast`, `powerful`, `triage`" in said
    assert "use one of `balanced`, `fast`, `powerful`" in validated(written(tmp_path, "xyzzy")).stdout


def test_profiles_of_the_workflow_itself_are_known_also_by_one_another(tmp_path: Path):
    own = {"mine": {"primary": ["gpt-3.5-turbo"]}, "quick": "mine", "quicker": {"profile": "quick", "max_latency_ms": 500}}
    file = written(tmp_path, "quicker", **own)
    assert validated(file).exit_code == 0
    assert load(file)[0].llm_profiles == own


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"primary": ["gpt-99"]}, "names 'gpt-99', not in the catalogue"),
        ({"profile": "fast", "max_cost": "-1"}, "max_cost_usd"),
        ({"profile": "fast", "colour": "red"}, "has no setting `colour`"),
        ({"primary": ["gpt-4"]}, "names 'gpt-4', not in the catalogue"),
    ],
    ids=["unknown model", "impossible limit", "unknown setting", "model the catalogue has removed"],
)
def test_what_the_router_would_refuse_is_a_fault_at_its_line(tmp_path: Path, own: dict[str, Any], said: str):
    """The same code says so that would say it when the node runs, and then too late."""
    file = written(tmp_path, "mine", mine=own)
    result = validated(file, TRIAGE)
    assert result.exit_code == 1
    assert said in result.stdout
    line = next(number for number, text in enumerate(file.read_text().splitlines(), 1) if '"mine": {' in text)
    assert f"flow.yaml:{line}:" in result.stdout
    with pytest.raises(CatalogueError):
        Catalogue.load(file.with_name("catalog.yaml")).with_profiles({"mine": own})


def test_profiles_that_start_from_one_another_are_a_fault(tmp_path: Path):
    result = validated(written(tmp_path, "a", a="b", b="a"))
    assert result.exit_code == 1
    assert "start from one another" in result.stdout


def test_a_catalogue_with_faults_ends_the_command_with_all_of_them(tmp_path: Path):
    result = validated(written(tmp_path, "fast"), {"profiles": {"x": {"primary": ["nobody"]}, "y": "nothing"}})
    assert result.exit_code == 1
    assert "nobody" in result.stderr
    assert "nothing" in result.stderr
