"""Where the API server is and who we are to it: the pod's ServiceAccount, or a kubeconfig."""

import contextlib
import os
from collections.abc import AsyncIterator

from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from switchboard_kube.client import ApiServer
from switchboard_wire.names import FIELD_MANAGER

# Beyond the watches, a burst of writes: more connections than this only queue in the API server
MAX_CONNECTIONS = 64


@contextlib.asynccontextmanager
async def connect(*, kubeconfig: str | None = None, field_manager: str = FIELD_MANAGER) -> AsyncIterator[ApiServer]:
    """Connect to the API server; nothing is asked before the first operation.

    kubeconfig: a path. Without one, a process in a pod takes the pod's ServiceAccount (fresh tokens are read as kubelet
    writes them), and any other takes $KUBECONFIG or ~/.kube/config. Raises `kubernetes.aio.config.ConfigException`
    when there is neither. Proxies of the environment are never used.
    """
    api = ApiClient(await _configuration(kubeconfig))
    api.user_agent = field_manager
    try:
        yield ApiServer(api, field_manager)
    finally:
        await api.close()


async def _configuration(kubeconfig: str | None) -> Configuration:
    # An HTTP_PROXY of the environment is for the internet; traffic to the API server must not take it
    configuration = Configuration(client_session_kwargs={"trust_env": False}, connection_pool_maxsize=MAX_CONNECTIONS)
    if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
        config.load_incluster_config(client_configuration=configuration)
        return configuration
    path = kubeconfig or os.environ.get("KUBECONFIG")
    await config.load_kube_config(config_file=path, client_configuration=configuration, persist_config=False)
    return configuration
