"""Write the CRDs, the chart's copy of them and their reference; with ``--check`` only say whether they are fresh."""

import argparse
import sys
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "hack"), str(ROOT / "sdk"), str(ROOT / "wire")]

from crdgen.crd import KINDS, build_crd  # noqa: E402
from crdgen.reference import render_reference  # noqa: E402

HEADER: Final = "Generated from sdk/switchboard/resources by hack/generate_crds.py: do not edit."


def render_files() -> dict[str, str]:
    """All generated files: path from the root → content."""
    files = {}
    for kind in KINDS:
        crd = build_crd(kind)
        files[f"crds/{kind.name}.yaml"] = f"# {HEADER}\n---\n{_dump(crd)}"
        files[f"charts/switchboard/templates/crds/{kind.name}.yaml"] = _render_template(crd)
    files["docs/reference/resources.md"] = render_reference(KINDS, HEADER)
    return files


def _dump(manifest: dict[str, Any]) -> str:
    text: str = yaml.dump(manifest, Dumper=_Plain, sort_keys=False, width=110, allow_unicode=True)
    return text


class _Plain(yaml.SafeDumper):
    """Writes equal parts out instead of referring to the first."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _render_template(crd: dict[str, Any]) -> str:
    """The CRD as a template of the chart, switched by ``crds.enabled`` and kept at uninstall by ``crds.keep``."""
    body = _dump(crd)
    if "{{" in body:
        raise ValueError(f"{crd['metadata']['name']}: helm would evaluate {{{{ in a description or rule")
    keep = "  {{- if .Values.crds.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{- end }}\n"
    body = body.replace("metadata:\n", f"metadata:\n{keep}", 1)
    return f"{{{{- /* {HEADER} */ -}}}}\n{{{{- if .Values.crds.enabled }}}}\n---\n{body}{{{{- end }}}}\n"


def main() -> int:
    """Write or check; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is stale")
    check = parser.parse_args().check
    stale = []
    for name, content in render_files().items():
        path = ROOT / name
        if path.is_file() and path.read_text(encoding="utf-8") == content:
            continue
        stale.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
    for name in stale:
        print(f"stale: {name}" if check else f"wrote {name}")
    if check and stale:
        print("run python hack/generate_crds.py and commit what it writes", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
