"""The cluster's certificates."""

import datetime
import json
import stat
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from devcluster.pki import Demand, Identity, issue, make_authority, write_all

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
DEMAND = Demand("https://10.0.0.2:6443", ("kubernetes", "10.0.0.2"), (("node-a", "10.0.0.2"),))


def test_a_client_is_no_server_and_its_groups_are_organizations() -> None:
    authority = make_authority("ca", NOW)
    signed = x509.load_pem_x509_certificate(issue(authority, Identity("amy", ("system:masters",)), NOW).certificate)
    signed.verify_directly_issued_by(authority.certificate)
    assert signed.subject.rfc4514_string() == "CN=amy,O=system:masters"
    usage = signed.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_a_server_carries_names_and_addresses() -> None:
    pair = issue(make_authority("ca", NOW), Identity("api", addresses=("kubernetes", "10.0.0.2")), NOW)
    names = x509.load_pem_x509_certificate(pair.certificate).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == ["kubernetes"]
    assert [str(address) for address in names.value.get_values_for_type(x509.IPAddress)] == ["10.0.0.2"]


def test_everything_is_private_and_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "pki"
    write_all(folder, DEMAND, NOW)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_all(folder, DEMAND, NOW)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    files = [path for path in folder.iterdir() if path.suffix]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert json.loads(before["admin.kubeconfig"])["clusters"][0]["cluster"]["server"] == DEMAND.server
    assert {"node-node-a.kubeconfig", "kubelet-node-a.crt", "front-proxy-client.key"} <= set(before)
