"""Which settings are found where, and what is said about those that cannot work."""

from __future__ import annotations

import asyncio
import base64
import functools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controller_runtime.credentials import ClientCertificate, StaticCredentials
from controller_runtime.errors import ConfigError
from controller_runtime.kubeconfigfiles import Entry
from controller_runtime.restconfig import RestConfig, _require_plugins, load
from controller_runtime.testing.clock import FakeClock

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SECRET = "s3cret-s3cret"


@functools.cache
def certificate(name: str = "alice") -> ClientCertificate:
    """Issue a certificate that expires a day after `NOW`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=365))
        .not_valid_after(NOW + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    return ClientCertificate(
        signed.public_bytes(pem),
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain),
    )


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def kubeconfig(
    path: Path,
    *,
    name: str = "dev",
    cluster: Mapping[str, object] | None = None,
    user: Mapping[str, object] | None = None,
    context: Mapping[str, object] | None = None,
    current: str | None = None,
) -> Path:
    """Write a kubeconfig whose context, cluster and user have one name."""
    server = f"https://{name}.example:6443"
    parts: Mapping[str, Mapping[str, object]] = {
        "context": {"cluster": name, "user": name, **(context or {})},
        "cluster": {"server": server, **(cluster or {})},
        "user": user or {},
    }
    document: dict[str, object] = {
        f"{role}s": [{"name": name, role: dict(fields)}]
        for role, fields in parts.items()
    }
    document["current-context"] = name if current is None else current
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document))
    return path


def read(path: Path, **options: Any) -> RestConfig:
    """Load one file."""
    return load(
        kubeconfig=path, environ={}, home=path.parent, clock=FakeClock(NOW), **options
    )


def pod(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Lay out a pod's account; return its directory and environment."""
    account = tmp_path / "serviceaccount"
    account.mkdir()
    (account / "token").write_text(SECRET)
    (account / "ca.crt").write_bytes(certificate().certificate)
    (account / "namespace").write_text("system\n")
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    return account, environ


class TestWhereSettingsAreFound:
    def test_the_path_that_is_given_comes_before_everything(
        self, tmp_path: Path
    ) -> None:
        account, environ = pod(tmp_path)
        environ["KUBECONFIG"] = str(kubeconfig(tmp_path / "environ", name="environ"))

        config = load(
            kubeconfig=kubeconfig(tmp_path / "given", name="given"),
            environ=environ,
            home=tmp_path,
            service_account=account,
        )

        assert config.server == "https://given.example:6443"
        assert config.source == str(tmp_path / "given")

    def test_the_environment_comes_before_the_pod(self, tmp_path: Path) -> None:
        account, environ = pod(tmp_path)
        environ["KUBECONFIG"] = str(kubeconfig(tmp_path / "environ", name="environ"))

        config = load(environ=environ, home=tmp_path, service_account=account)

        assert config.server == "https://environ.example:6443"

    async def test_the_pod_comes_before_the_home_directory(
        self, tmp_path: Path
    ) -> None:
        account, environ = pod(tmp_path)
        kubeconfig(tmp_path / ".kube" / "config", name="home")

        config = await asyncio.to_thread(
            load, environ=environ, home=tmp_path, service_account=account
        )

        assert config.server == "https://[fd00::1]:6443"
        assert config.namespace == "system"
        assert config.ca_data == certificate().certificate
        assert config.credentials is not None
        assert await config.credentials.authorization() == f"Bearer {SECRET}"

    def test_a_context_that_is_named_passes_over_the_pod(self, tmp_path: Path) -> None:
        account, environ = pod(tmp_path)
        kubeconfig(tmp_path / ".kube" / "config", name="home")

        config = load(
            context="home", environ=environ, home=tmp_path, service_account=account
        )

        assert config.server == "https://home.example:6443"

    def test_the_home_directory_comes_last(self, tmp_path: Path) -> None:
        kubeconfig(tmp_path / ".kube" / "config", name="home")

        config = load(environ={"KUBECONFIG": ""}, home=tmp_path)

        assert config.server == "https://home.example:6443"
        assert (config.context, config.namespace) == ("home", "default")

    def test_a_host_without_a_token_is_no_pod(self, tmp_path: Path) -> None:
        kubeconfig(tmp_path / ".kube" / "config", name="home")
        environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}

        config = load(environ=environ, home=tmp_path, service_account=tmp_path)

        assert config.server == "https://home.example:6443"

    def test_when_nothing_is_found_all_places_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            load(environ={}, home=tmp_path, service_account=tmp_path)

        assert str(caught.value) == (
            f"no kubeconfig was given, KUBECONFIG is not set, {tmp_path}/.kube/config "
            "does not exist, and this is no pod with a service account: "
            "name a kubeconfig"
        )


class TestSeveralFiles:
    def test_of_two_parts_with_one_name_the_first_counts(self, tmp_path: Path) -> None:
        first = kubeconfig(tmp_path / "a", cluster={"server": "https://first"})
        second = kubeconfig(tmp_path / "b", cluster={"server": "https://second"})

        config = load(environ={"KUBECONFIG": f"{first}:{second}"}, home=tmp_path)

        assert config.server == "https://first"
        assert config.source == f"{first}, {second}"

    def test_a_context_may_name_parts_of_other_files(self, tmp_path: Path) -> None:
        user = {"token": SECRET}
        first = kubeconfig(tmp_path / "a", name="a", context={"cluster": "b"})
        second = kubeconfig(tmp_path / "b", name="b", user=user)

        config = load(environ={"KUBECONFIG": f"{first}::{second}"}, home=tmp_path)

        assert config.context == "a"
        assert config.server == "https://b.example:6443"

    def test_the_first_current_context_counts(self, tmp_path: Path) -> None:
        first = kubeconfig(tmp_path / "a", name="a", current="")
        second = kubeconfig(tmp_path / "b", name="b")
        third = kubeconfig(tmp_path / "c", name="c")

        config = load(
            environ={"KUBECONFIG": f"{first}:{second}:{third}"}, home=tmp_path
        )

        assert config.context == "b"

    def test_files_that_are_not_there_are_passed_over(self, tmp_path: Path) -> None:
        there = kubeconfig(tmp_path / "a")

        config = load(environ={"KUBECONFIG": f"{tmp_path}/no:{there}"}, home=tmp_path)

        assert config.source == str(there)

    async def test_a_relative_path_starts_at_the_file_that_has_it(
        self, tmp_path: Path
    ) -> None:
        files = {"client-certificate": "pki/tls.crt", "client-key": "pki/tls.key"}
        first = kubeconfig(tmp_path / "a" / "config", context={"user": "other"})
        second = kubeconfig(
            tmp_path / "b" / "config", name="other", user=files | {"tokenFile": "token"}
        )
        (tmp_path / "b" / "pki").mkdir()
        (tmp_path / "b" / "token").write_text(SECRET)
        for name, data in zip(files.values(), certificate(), strict=True):
            (tmp_path / "b" / name).write_bytes(data)

        config = await asyncio.to_thread(
            load,
            environ={"KUBECONFIG": f"{first}:{second}"},
            home=tmp_path,
            clock=FakeClock(NOW),
        )

        assert config.client_certificate == certificate()
        assert config.credentials is not None
        assert await config.credentials.authorization() == f"Bearer {SECRET}"


class TestWhatIsRead:
    def test_the_settings_of_a_cluster(self, tmp_path: Path) -> None:
        ca = certificate("ca").certificate
        cluster = {
            "server": "https://10.0.0.1:6443/k8s/",
            "certificate-authority-data": encoded(ca),
            "certificate-authority": "/data/wins",
            "tls-server-name": "kubernetes",
            "proxy-url": "http://proxy.example:3128",
        }

        config = read(
            kubeconfig(tmp_path / "a", cluster=cluster, context={"namespace": "team"})
        )

        assert config.server == "https://10.0.0.1:6443/k8s"
        assert config.ca_data == ca
        assert config.server_name == "kubernetes"
        assert config.proxy_url == "http://proxy.example:3128"
        assert config.namespace == "team"
        assert not config.insecure_skip_tls_verify

    def test_a_context_that_is_named_instead_of_the_current_one(
        self, tmp_path: Path
    ) -> None:
        path = kubeconfig(tmp_path / "a", current="gone")

        assert read(path, context="dev").context == "dev"

    def test_a_cluster_without_an_authority_trusts_the_hosts(
        self, tmp_path: Path
    ) -> None:
        assert read(kubeconfig(tmp_path / "a")).ca_data is None

    def test_an_insecure_cluster(self, tmp_path: Path) -> None:
        path = kubeconfig(tmp_path / "a", cluster={"insecure-skip-tls-verify": True})

        context = read(path).tls()

        assert not context.check_hostname

    def test_a_user_without_credentials(self, tmp_path: Path) -> None:
        path = kubeconfig(tmp_path / "a", context={"user": ""})

        assert read(path).credentials is None

    @pytest.mark.parametrize(
        ("user", "authorization"),
        [
            ({"token": f"{SECRET}\n"}, f"Bearer {SECRET}"),
            ({"username": "a", "password": "b"}, "Basic YTpi"),
        ],
    )
    async def test_static_credentials(
        self, tmp_path: Path, user: Mapping[str, object], authorization: str
    ) -> None:
        config = await asyncio.to_thread(read, kubeconfig(tmp_path / "a", user=user))

        assert isinstance(config.credentials, StaticCredentials)
        assert await config.credentials.authorization() == authorization

    def test_a_client_certificate(self, tmp_path: Path) -> None:
        data = zip(("certificate", "key"), certificate(), strict=True)
        user = {f"client-{name}-data": encoded(pem) for name, pem in data}

        config = read(kubeconfig(tmp_path / "a", user=user))

        assert config.client_certificate == certificate()
        config.tls()


class TestWhatCannotWork:
    """Each message names the file, the field and the remedy, and no secret."""

    def refuse(self, path: Path, **options: Any) -> str:
        with pytest.raises(ConfigError) as caught:
            read(path, **options)
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None, "the cause may quote a secret"
        return str(caught.value).replace(str(path.parent), "DIR")

    def user(self, tmp_path: Path, **user: object) -> str:
        fields = {name.replace("_", "-"): value for name, value in user.items()}
        return self.refuse(kubeconfig(tmp_path / "config", user=fields))

    def cluster(self, tmp_path: Path, **cluster: object) -> str:
        fields = {name.replace("_", "-"): value for name, value in cluster.items()}
        return self.refuse(kubeconfig(tmp_path / "config", cluster=fields))

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        assert self.refuse(tmp_path / "config") == (
            "the kubeconfig DIR/config cannot be read (No such file or directory): "
            "correct its path, or KUBECONFIG"
        )

    def test_files_of_the_environment_of_which_none_is_there(
        self, tmp_path: Path
    ) -> None:
        with pytest.raises(ConfigError, match="correct its path, or KUBECONFIG"):
            load(environ={"KUBECONFIG": f"{tmp_path}/a:{tmp_path}/b"}, home=tmp_path)

    def test_a_file_that_is_not_yaml(self, tmp_path: Path) -> None:
        (tmp_path / "config").write_text(f"users:\n- token: '{SECRET}\n  : {{")

        assert self.refuse(tmp_path / "config") == (
            "the kubeconfig DIR/config is not YAML at line 3: "
            "write it with kubectl config"
        )

    def test_a_file_that_is_something_else(self, tmp_path: Path) -> None:
        (tmp_path / "config").write_text(SECRET)

        assert self.refuse(tmp_path / "config") == (
            "DIR/config is no kubeconfig, which has clusters, users and contexts: "
            "name another file"
        )

    def test_users_that_are_no_list(self, tmp_path: Path) -> None:
        path = tmp_path / "config"
        path.write_text(f"users: {{dev: {{token: {SECRET}}}}}")

        assert self.refuse(path) == (
            "users in DIR/config is no list: write it as kubectl does"
        )

    def test_no_current_context(self, tmp_path: Path) -> None:
        path = kubeconfig(tmp_path / "config", current="")

        assert self.refuse(path) == (
            "current-context is not set in DIR/config: name one of dev"
        )

    def test_an_empty_file(self, tmp_path: Path) -> None:
        (tmp_path / "config").write_text("")

        assert "there is no context yet" in self.refuse(tmp_path / "config")

    def test_a_context_that_is_not_there(self, tmp_path: Path) -> None:
        path = kubeconfig(tmp_path / "config")

        assert self.refuse(path, context="prod") == (
            "the context prod is not in DIR/config: name one of dev"
        )

    @pytest.mark.parametrize("role", ["cluster", "user"])
    def test_a_context_that_names_what_is_not_there(
        self, tmp_path: Path, role: str
    ) -> None:
        path = kubeconfig(tmp_path / "config", context={role: "gone"})

        assert self.refuse(path) == (
            f"the {role} of context dev in DIR/config is 'gone', "
            "which is not there: use dev"
        )

    @pytest.mark.parametrize("server", ["", "localhost:8080", "https://a:b@host"])
    def test_a_server_that_is_no_url(self, tmp_path: Path, server: str) -> None:
        assert self.cluster(tmp_path, server=server) == (
            "the server of cluster dev in DIR/config is no plain http or https URL: "
            "write one"
        )

    def test_a_proxy_that_is_no_url(self, tmp_path: Path) -> None:
        assert self.cluster(tmp_path, proxy_url="socks5://proxy") == (
            "the proxy-url of cluster dev in DIR/config is no http or https URL: "
            "begin it so"
        )

    def test_data_that_is_not_base64(self, tmp_path: Path) -> None:
        assert self.user(tmp_path, client_key_data=SECRET) == (
            "the client-key-data of user dev in DIR/config is not base64: "
            "use client-key to name a file instead"
        )

    def test_a_field_that_is_not_text(self, tmp_path: Path) -> None:
        assert self.user(tmp_path, token=123456) == (
            "the token of user dev in DIR/config is not a text: put it in quotes"
        )

    def test_a_field_that_is_not_true_or_false(self, tmp_path: Path) -> None:
        assert self.cluster(tmp_path, insecure_skip_tls_verify="yes") == (
            "the insecure-skip-tls-verify of cluster dev in DIR/config "
            "is neither true nor false: write one of them"
        )

    def test_an_authority_that_is_not_there(self, tmp_path: Path) -> None:
        assert self.cluster(tmp_path, certificate_authority="ca.crt") == (
            "the certificate-authority of cluster dev in DIR/config "
            "cannot be read from DIR/ca.crt (No such file or directory): "
            "correct the path or let this process read it"
        )

    @pytest.mark.parametrize("data", [b"none", b"\xff"])
    def test_an_authority_that_is_no_certificate(
        self, tmp_path: Path, data: bytes
    ) -> None:
        assert self.cluster(tmp_path, certificate_authority_data=encoded(data)) == (
            "the certificate-authority of cluster dev in DIR/config "
            "is no PEM certificate: use the cluster's ca.crt"
        )

    def test_an_authority_that_is_not_asked(self, tmp_path: Path) -> None:
        authority = encoded(certificate().certificate)

        assert self.cluster(
            tmp_path,
            insecure_skip_tls_verify=True,
            certificate_authority_data=authority,
        ) == (
            "the insecure-skip-tls-verify of cluster dev in DIR/config "
            "contradicts its certificate-authority: drop one"
        )

    def test_a_certificate_without_its_key(self, tmp_path: Path) -> None:
        pem = encoded(certificate().certificate)

        assert self.user(tmp_path, client_certificate_data=pem) == (
            "the client-key of user dev in DIR/config is missing: "
            "a certificate and its key go together"
        )

    def test_a_key_of_another_certificate(self, tmp_path: Path) -> None:
        assert self.user(
            tmp_path,
            client_certificate_data=encoded(certificate().certificate),
            client_key_data=encoded(certificate("bob").key),
        ) == (
            "the client-key of user dev in DIR/config "
            "does not belong to the client-certificate: fetch the pair again"
        )

    @pytest.mark.parametrize("locked", [False, True])
    def test_a_key_that_cannot_be_used(self, tmp_path: Path, locked: bool) -> None:
        key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(SECRET.encode()),
        )

        assert self.user(
            tmp_path,
            client_certificate_data=encoded(certificate().certificate),
            client_key_data=encoded(key if locked else SECRET.encode()),
        ) == (
            "the client-key of user dev in DIR/config or its client-certificate "
            "is not readable PEM without password: fetch the pair again"
        )

    def test_a_certificate_that_has_expired(self, tmp_path: Path) -> None:
        data = zip(("certificate", "key"), certificate(), strict=True)
        user = {f"client-{name}-data": encoded(pem) for name, pem in data}
        path = kubeconfig(tmp_path / "config", user=user)
        later = FakeClock(NOW + timedelta(days=2))

        with pytest.raises(ConfigError) as caught:
            load(kubeconfig=path, environ={}, home=tmp_path, clock=later)

        assert str(caught.value) == (
            f"the client certificate of user dev in {path} expired on "
            "2030-01-02 00:00 UTC: renew it, or fetch the kubeconfig again"
        )

    def test_a_token_file_that_is_not_there(self, tmp_path: Path) -> None:
        assert self.user(tmp_path, tokenFile="token") == (
            "the tokenFile of user dev in DIR/config is not at DIR/token: "
            "correct the path"
        )

    def test_a_user_who_acts_as_somebody_else(self, tmp_path: Path) -> None:
        assert self.user(tmp_path, **{"as": "root", "token": SECRET}) == (
            "the as of user dev in DIR/config is not supported: "
            "use an account of its own"
        )

    def test_a_plug_in_without_a_command(self, tmp_path: Path) -> None:
        assert self.user(tmp_path, exec={"args": [SECRET]}) == (
            "the exec of user dev in DIR/config has no command: name the program to run"
        )

    def test_a_plug_in_that_is_no_section(self, tmp_path: Path) -> None:
        assert self.user(tmp_path, exec=SECRET) == (
            "the exec of user dev in DIR/config has no fields: write it as kubectl does"
        )

    def test_a_plug_in_without_the_package_that_runs_it(self) -> None:
        user = Entry("user", "dev", {}, Path("config"))

        with pytest.raises(ConfigError) as caught:
            _require_plugins(user, "exec", package="not_installed")

        assert str(caught.value) == (
            "the exec of user dev in config needs the package not_installed: "
            "pip install 'pilothouse[auth]'"
        )

    def test_a_pod_without_an_authority(self, tmp_path: Path) -> None:
        account, environ = pod(tmp_path)
        (account / "ca.crt").unlink()

        with pytest.raises(ConfigError, match=r"ca\.crt"):
            load(environ=environ, home=tmp_path, service_account=account)


def test_no_repr_shows_a_secret(tmp_path: Path) -> None:
    data = zip(("certificate", "key"), certificate(), strict=True)
    user = {f"client-{name}-data": encoded(pem) for name, pem in data}
    cluster = {"proxy-url": f"http://a:{SECRET}@proxy.example"}
    path = kubeconfig(tmp_path / "a", cluster=cluster, user=user | {"token": SECRET})

    config = read(path)

    shown = f"{config} {config!r} {config.credentials!r} {config.client_certificate!r}"
    assert SECRET not in shown
    assert "PRIVATE" not in shown
