"""Objects that would be admitted, to which each test adds its fault."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from kubernetes import client, config

from switchboard_wire import names

Manifest: TypeAlias = dict[str, Any]
# Tries to create an object without keeping it; None when the API server took it, else its message.
Verdict: TypeAlias = Callable[[Manifest], str | None]


@pytest.fixture(scope="session")
def verdict(crds: Path) -> Verdict:
    """The API server's word on an object, unknown fields refused as kubectl does."""
    api = client.CustomObjectsApi(config.new_client_from_config(str(crds)))
    plurals = {names.AGENT: names.AGENTS, names.AGENT_NODE: names.AGENT_NODES}

    def judge(manifest: Manifest) -> str | None:
        try:
            api.create_namespaced_custom_object(
                names.GROUP,
                names.VERSION,
                "default",
                plurals[manifest["kind"]],
                manifest,
                dry_run="All",
                field_validation="Strict",
            )
        except client.ApiException as error:
            if error.status not in (400, 422):
                raise
            message: str = json.loads(error.body)["message"]
            return message
        return None

    return judge
