"""Write the Go module from which another Kubernetes than the pinned one is built.

Kubernetes' own go.mod decides every version in it, etcd's too, so that the programs are those of that release. Its
libraries lie in its own source tree there; outside of it they are modules, one for each, of the same release.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from devcluster.commands import run
from devcluster.faults import ClusterError
from devcluster.settings import GO_MODULE

MODULE = "k8s.io/kubernetes"
STAGED = re.compile(r"(?m)^\t(k8s\.io/[a-z0-9-]+) => \./staging/\S+$")
KUBELET = "kubelet.NewKubeletCommand({})"


def write(folder: Path, version: str, go: Path, environment: Mapping[str, str]) -> None:
    """Write go.mod and main.go of the version into the folder; the source of Kubernetes is downloaded for it."""
    folder.mkdir(parents=True, exist_ok=True)
    # Away from any other module, which would have a say in what is downloaded.
    answer = run([go, "mod", "download", "-json", f"{MODULE}@v{version}"], env=environment, cwd=folder.parent)
    found = json.loads(answer)
    kubelet = Path(found["Dir"]) / "cmd" / "kubelet" / "app" / "server.go"
    (folder / "go.mod").write_text(derive_go_mod(Path(found["GoMod"]).read_text(), version))
    (folder / "main.go").write_text(adapt_main((GO_MODULE / "main.go").read_text(), kubelet.read_text()))


def derive_go_mod(upstream: str, version: str) -> str:
    """Return the module that requires this Kubernetes and everything at the versions which its own go.mod names."""
    library_version = "v0." + version.partition(".")[2]
    text, count = STAGED.subn(rf"\t\1 => \1 {library_version}", upstream)
    if count == 0:
        raise ClusterError(f"the go.mod of Kubernetes {version} replaces no library: its source tree has changed")
    text = text.replace(f"module {MODULE}\n", "module switchboard.dev/hack/kube\n", 1)
    return f"{text}\nrequire {MODULE} v{version}\n"


def adapt_main(source: str, kubelet: str) -> str:
    """Return our main.go as this release's kubelet wants it: old ones make their context themselves."""
    if "func NewKubeletCommand(ctx" in kubelet:
        return source
    source = source.replace(KUBELET.format("context.Background()"), KUBELET.format(""))
    return source.replace('\t"context"\n', "")
