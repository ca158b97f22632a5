"""Kubeconfigs that are written, and the user's own."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import yaml

from controller_runtime.errors import ConfigError
from controller_runtime.testing.envtest.access import Access
from controller_runtime.testing.envtest.certificates import CertificateAuthority
from controller_runtime.testing.envtest.existing import (
    ExistingCluster,
    uses_existing_cluster,
)
from controller_runtime.testing.envtest.kubeconfig import (
    CurrentContext,
)

URL = "https://127.0.0.1:6443"

PLUG_IN = {"exec": {"command": "aws", "apiVersion": "client.authentication.k8s.io/v1"}}


@pytest.fixture
def access() -> Access:
    return Access(URL, CertificateAuthority.create())


def written(path: Path, text: str) -> CurrentContext:
    path.write_text(text, encoding="utf-8")
    return CurrentContext(path)


def document(user: dict[str, object]) -> str:
    return yaml.safe_dump(
        {
            "clusters": [
                {"name": "other", "cluster": {"server": "https://other.example"}},
                {
                    "name": "mine",
                    "cluster": {"server": URL, "certificate-authority": "pki/ca.crt"},
                },
            ],
            "users": [{"name": "me", "user": user}],
            "contexts": [
                {"name": "there", "context": {"cluster": "other", "user": "me"}},
                {"name": "here", "context": {"cluster": "mine", "user": "me"}},
            ],
            "current-context": "here",
        }
    )


def authority_in(folder: Path) -> bytes:
    authority = CertificateAuthority.create()
    authority.pair.write(folder / "pki", "ca")
    return authority.pem


def test_what_we_write_we_can_read(access: Access, tmp_path: Path) -> None:
    context = written(tmp_path / "config", access.kubeconfig())

    assert context.url == URL
    assert context.ca == access.ca_pem
    assert context.restconfig().client_certificate is not None


def test_a_kubeconfig_is_the_users_alone(access: Access) -> None:
    users = yaml.safe_load(access.kubeconfig(user="eve"))["users"]

    assert [user["name"] for user in users] == ["eve"]
    certificate = base64.b64decode(users[0]["user"]["client-certificate-data"])
    assert certificate.startswith(b"-----BEGIN CERTIFICATE-----")


def test_files_are_found_beside_the_kubeconfig(tmp_path: Path) -> None:
    ca = authority_in(tmp_path)
    (tmp_path / "token").write_text("from a file\n", encoding="utf-8")

    context = written(tmp_path / "config", document({"tokenFile": "token"}))

    assert context.ca == ca
    copied = yaml.safe_load(context.text())
    assert copied["clusters"][0]["cluster"]["server"] == URL
    assert copied["users"][0]["user"]["tokenFile"] == str(tmp_path / "token")


def test_another_user_of_an_existing_cluster_is_impersonated(tmp_path: Path) -> None:
    authority_in(tmp_path)
    context = written(tmp_path / "config", document({"token": "secret"}))

    text = ExistingCluster(context).kubeconfig(user="eve", groups=["a"])

    user = yaml.safe_load(text)["users"][0]["user"]
    assert user == {"token": "secret", "as": "eve", "as-groups": ["a"]}


def test_nothing_is_signed_for_an_existing_cluster(tmp_path: Path) -> None:
    authority_in(tmp_path)
    cluster = ExistingCluster(written(tmp_path / "config", document({"token": "x"})))

    with pytest.raises(ConfigError, match="existing cluster"):
        cluster.client_certificate("eve")
    with pytest.raises(ConfigError, match="no expired certificate"):
        cluster.kubeconfig(expired=True)


def test_a_plug_in_beside_the_kubeconfig_is_found_from_everywhere(
    tmp_path: Path,
) -> None:
    authority_in(tmp_path)
    user: dict[str, object] = {"exec": {**PLUG_IN["exec"], "command": "bin/login"}}
    cluster = ExistingCluster(written(tmp_path / "config", document(user)))

    users = yaml.safe_load(cluster.kubeconfig())["users"]

    assert cluster.url == URL
    assert users[0]["user"]["exec"]["command"] == str(tmp_path / "bin" / "login")
    assert cluster.api.url == URL


def test_what_cannot_be_used_matters_only_to_who_asks_through_us(
    tmp_path: Path,
) -> None:
    authority_in(tmp_path)
    cluster = ExistingCluster(written(tmp_path / "config", document({"as": "eve"})))

    assert cluster.url == URL
    with pytest.raises(ConfigError, match="user me"):
        _ = cluster.api


def test_files_of_the_environment_are_one(tmp_path: Path) -> None:
    authority_in(tmp_path)
    whole = yaml.safe_load(document({"token": "secret"}))
    users = {"users": whole.pop("users")}
    (tmp_path / "clusters").write_text(yaml.safe_dump(whole), encoding="utf-8")
    (tmp_path / "users").write_text(yaml.safe_dump(users), encoding="utf-8")
    listed = f"{tmp_path / 'gone'}:{tmp_path / 'clusters'}:{tmp_path / 'users'}"

    context = CurrentContext.of({"KUBECONFIG": listed}, tmp_path)

    assert context.url == URL
    assert yaml.safe_load(context.text())["users"][0]["user"] == {"token": "secret"}
    assert context.files == f"{tmp_path / 'clusters'}, {tmp_path / 'users'}"


@pytest.mark.parametrize(
    "text", ["", "current-context: gone", "a: [", "contexts: []\ncurrent-context: x"]
)
def test_a_kubeconfig_without_its_context_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="config"):
        written(tmp_path / "config", text)


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        CurrentContext(tmp_path / "nowhere")


def test_without_the_environment_it_is_the_usual_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=str(tmp_path / ".kube" / "config")):
        CurrentContext.of({}, tmp_path)


@pytest.mark.parametrize("value", ["true", "True", "1", "t"])
def test_an_existing_cluster_is_used_when_asked_for(value: str) -> None:
    assert uses_existing_cluster({"USE_EXISTING_CLUSTER": value})


@pytest.mark.parametrize("value", ["", "false", "0", "no"])
def test_an_existing_cluster_is_not_used_otherwise(value: str) -> None:
    assert not uses_existing_cluster({"USE_EXISTING_CLUSTER": value})
    assert not uses_existing_cluster({})
