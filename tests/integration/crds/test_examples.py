"""Every example is admitted as it is, and what the API server makes of it the models read."""

from pathlib import Path

import pytest
import yaml

from switchboard.resources import Agent, AgentNode
from switchboard_wire.names import AGENT, AGENT_NODE

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
FOLDERS = sorted({path.parent.name for path in EXAMPLES.glob("*/*.yaml")})
MODELS = {AGENT: Agent, AGENT_NODE: AgentNode}

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("crds")]


@pytest.mark.parametrize("folder", FOLDERS)
def test_an_example_is_admitted_and_read_back(folder, kubectl, namespace) -> None:
    admitted = kubectl.run(
        "apply", "--server-side", "--dry-run=server", "-n", namespace, "-o", "yaml", "-f", str(EXAMPLES / folder)
    )

    objects = yaml.safe_load(admitted)
    read = [
        MODELS[manifest["kind"]].from_wire(manifest)
        for manifest in objects.get("items", [objects])
        if manifest["kind"] in MODELS
    ]
    assert read


def test_there_are_examples() -> None:
    assert "quickstart" in FOLDERS
