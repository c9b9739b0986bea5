"""Bring up and take down the cluster, whichever provider it comes from."""

import os

from devcluster import images, local, provider
from devcluster.settings import Places


def up(places: Places) -> str:
    """Bring up the cluster of the provider that fits, with its kubeconfig in its place; return the provider."""
    name = provider.choose_provider(provider.observe_situation(os.environ))
    if name == provider.CURRENT:
        provider.use_current(places, os.environ)
    elif name == provider.KIND:
        provider.up_kind(places, os.environ)
    else:
        cluster = local.locate(places)
        local.up(cluster, images.preparations(places, after=local.packages_step()))
        provider.keep_kubeconfig(places, cluster.kubectl.kubeconfig.read_text())
    places.provider.write_text(name)
    return name


def down(places: Places) -> None:
    """Take down what `up` made; a cluster of the user's own is only forgotten."""
    name = places.provider.read_text() if places.provider.exists() else None
    if name == provider.KIND:
        provider.down_kind(places)
    if places.state.exists():  # even when another clone made it, or a crash came before the provider was noted
        local.down(local.locate(places))
    for path in (places.kubeconfig, places.provider):
        path.unlink(missing_ok=True)
