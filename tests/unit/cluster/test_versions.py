"""Another Kubernetes than the pinned one: which folder its programs have and which module they are built from."""

from pathlib import Path

import pytest
from devcluster.binaries import CONTROL_PLANE, HELM, choose_kubernetes, link_flags, locate
from devcluster.faults import ClusterError, PreconditionUnmet
from devcluster.kube_module import adapt_main, derive_go_mod
from devcluster.settings import GO_MODULE, KUBERNETES_VERSION, Places

UPSTREAM = """// generated
module k8s.io/kubernetes

go 1.22.0

require (
	github.com/spf13/cobra v1.8.1
	k8s.io/api v0.0.0
	k8s.io/klog/v2 v2.130.1
)

replace (
	k8s.io/api => ./staging/src/k8s.io/api
	k8s.io/cri-api => ./staging/src/k8s.io/cri-api
)
"""


def test_the_pinned_version_is_taken_when_none_is_asked_for(tmp_path: Path) -> None:
    places = Places(tmp_path / "state", tmp_path)
    found, pinned = locate(places, {}), locate(places, {"KUBERNETES_VERSION": KUBERNETES_VERSION})
    assert found == pinned
    assert found.kubernetes == KUBERNETES_VERSION
    assert [found.home("etcd")] == [found.home("helm")] == found.folders


def test_another_version_has_a_folder_of_its_own_for_kubernetes_alone(tmp_path: Path) -> None:
    places = Places(tmp_path / "state", tmp_path)
    pinned, found = locate(places, {}), locate(places, {"KUBERNETES_VERSION": "v1.31.0"})
    assert found.key.startswith("kubernetes-1.31.0-")
    assert found.home("kubelet") == found.home("etcd") == tmp_path / "bin" / found.key
    assert found.home("helm") == found.home("coredns") == pinned.cached
    assert found.folders == [found.cached, pinned.cached]


def test_programs_of_the_pinned_version_are_not_taken_for_those_of_another(tmp_path: Path) -> None:
    places = Places(tmp_path / "state", tmp_path)
    pinned, found = locate(places, {}), locate(places, {"KUBERNETES_VERSION": "1.31.0"})
    pinned.cached.mkdir(parents=True)
    for program in (*CONTROL_PLANE.programs, *HELM.programs):
        (pinned.cached / program).touch()
    assert found.missing(CONTROL_PLANE)
    assert not found.missing(HELM)


@pytest.mark.parametrize("wish", ["1.31", "newest", "2.0.0", "../1.31.0"])
def test_what_is_no_version_is_refused(wish: str) -> None:
    with pytest.raises(PreconditionUnmet, match="KUBERNETES_VERSION"):
        choose_kubernetes({"KUBERNETES_VERSION": wish})


def test_the_programs_say_their_own_version() -> None:
    assert "client-go/pkg/version.gitVersion=v1.31.0" in link_flags("1.31.0")
    assert "version" not in link_flags(None)


def test_the_module_takes_the_libraries_of_the_same_release_and_leaves_the_rest() -> None:
    text = derive_go_mod(UPSTREAM, "1.31.0")
    assert "module switchboard.dev/hack/kube\n" in text
    assert "\tk8s.io/api => k8s.io/api v0.31.0\n" in text
    assert "\tk8s.io/cri-api => k8s.io/cri-api v0.31.0\n" in text
    assert "\tgithub.com/spf13/cobra v1.8.1\n" in text
    assert "staging" not in text
    assert text.endswith("require k8s.io/kubernetes v1.31.0\n")


def test_a_release_with_another_source_tree_is_named() -> None:
    with pytest.raises(ClusterError, match=r"1\.99\.0"):
        derive_go_mod("module k8s.io/kubernetes\n", "1.99.0")


def test_our_program_gives_an_old_kubelet_no_context() -> None:
    source = (GO_MODULE / "main.go").read_text()
    adapted = adapt_main(source, "func NewKubeletCommand() *cobra.Command {")
    assert "kubelet.NewKubeletCommand()" in adapted
    assert "context" not in adapted
    assert adapt_main(source, "func NewKubeletCommand(ctx context.Context) *cobra.Command {") == source
