"""Bring up and take down the Kubernetes cluster which the tests and the demo run on.

Nothing of the product imports this package and it imports nothing of the product. It needs the standard
library and `cryptography`; all else that it runs are programs. Modules which only decide (`settings`,
`network_plan`, `control_plane`, `node_config`, `one_binary_image`) touch nothing; the others act.

Tests that need no more than an API server start one of their own, without root, in about four seconds:

    from devcluster import rootless
    with rootless.running(tmp_path, with_controllers=True) as kubeconfig: ...

or, from any program, `python3 hack/cluster control-plane up --state DIR` (prints the path of the
kubeconfig when the API server is ready) and `… control-plane down --state DIR`.
"""
