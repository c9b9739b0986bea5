"""The generated files: the CRDs around the schemas, the chart's copy, the reference."""

from pathlib import Path

import generate_crds
import pytest
import yaml
from crdgen.crd import KINDS, build_crd

ROOT = Path(__file__).resolve().parents[3]
KIND_IDS = [kind.kind for kind in KINDS]


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    return generate_crds.render_files()


def test_what_is_committed_is_what_the_models_say(files) -> None:
    stale = [name for name, content in files.items() if (ROOT / name).read_text(encoding="utf-8") != content]

    assert stale == []


@pytest.mark.parametrize("kind", KINDS, ids=KIND_IDS)
def test_a_file_holds_the_crd_and_says_that_it_is_generated(kind, files) -> None:
    text = files[f"crds/{kind.name}.yaml"]

    assert yaml.safe_load(text) == build_crd(kind)
    assert "do not edit" in text.splitlines()[0]


@pytest.mark.parametrize("kind", KINDS, ids=KIND_IDS)
def test_the_charts_copy_is_switched_and_kept(kind, files) -> None:
    lines = files[f"charts/switchboard/templates/crds/{kind.name}.yaml"].splitlines()

    assert lines[1] == "{{- if .Values.crds.enabled }}"
    assert lines[-1] == "{{- end }}"
    kept = lines.index("    helm.sh/resource-policy: keep")
    assert lines[kept - 2 : kept + 2] == [
        "  {{- if .Values.crds.keep }}",
        "  annotations:",
        "    helm.sh/resource-policy: keep",
        "  {{- end }}",
    ]
    without_directives = "\n".join(line for line in lines if "{{" not in line)
    crd = yaml.safe_load(without_directives)
    assert crd.pop("metadata")["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert crd == {key: value for key, value in build_crd(kind).items() if key != "metadata"}


@pytest.mark.parametrize("kind", KINDS, ids=KIND_IDS)
def test_a_crd_stays_small_enough_for_kubectl_apply(kind, files) -> None:
    # kubectl apply keeps a copy in an annotation, and all annotations together may have 256 KiB.
    assert len(files[f"crds/{kind.name}.yaml"]) < 128 * 1024


def test_autoscalers_find_the_scale_of_a_pool() -> None:
    by_kind = {kind.kind: build_crd(kind)["spec"]["versions"][0] for kind in KINDS}

    assert by_kind["AgentNode"]["subresources"]["scale"] == {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    spec = by_kind["AgentNode"]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert spec["properties"]["replicas"]["default"] == 1  # the scale of an object without replicas cannot be read
    assert "scale" not in by_kind["Agent"]["subresources"]


def test_the_reference_tells_every_rule_and_field_of_an_agents_spec(files) -> None:
    reference = files["docs/reference/resources.md"]
    spec = build_crd(KINDS[1])["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]

    assert [name for name in spec["properties"] if f"| `{name}` |" not in reference] == []
    assert [rule for rule in spec["x-kubernetes-validations"] if rule["message"] not in reference] == []


def test_check_reports_a_stale_file(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(generate_crds, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["generate_crds.py", "--check"])

    assert generate_crds.main() == 1
    assert "stale: crds/agents.switchboard.dev.yaml" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []

    monkeypatch.setattr("sys.argv", ["generate_crds.py"])
    assert generate_crds.main() == 0
    monkeypatch.setattr("sys.argv", ["generate_crds.py", "--check"])
    assert generate_crds.main() == 0
