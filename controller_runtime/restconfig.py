"""Where the API server is: kubeconfig files or the pod's account.

`load` looks in the places where client-go looks and takes the first that is there:

    the path it is given ─▶ $KUBECONFIG, merged ─▶ the pod's account ─▶ ~/.kube/config

and returns a frozen `RestConfig`. It reads files, so it belongs to the start of a
process, and it checks what it reads: a setting that cannot work is a `ConfigError`
that names the file, the field and the remedy, before the first request is made.
What may change later, tokens above all, is left to `Credentials`.
"""

from __future__ import annotations

import importlib.util
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from controller_runtime.clock import Clock, SystemClock
from controller_runtime.credentials import (
    ClientCertificate,
    Credentials,
    PluginCredentials,
    StaticCredentials,
    TokenFile,
    auth_provider,
    exec_plugin,
)
from controller_runtime.errors import ConfigError
from controller_runtime.kubeconfigfiles import (
    Entry,
    Kubeconfig,
    listed_files,
    read_kubeconfig,
    usual_file,
)
from controller_runtime.tls import KeyPair, load_pair
from controller_runtime.validity import not_after

__all__ = ["ClientCertificate", "Credentials", "RestConfig", "load"]

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts a pod's token, CA and namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestConfig:
    """How to reach one API server as one account."""

    server: str
    """URL without a slash at its end; it may have a path."""

    ca_data: bytes | None = field(default=None, repr=False)
    """PEM certificates that vouch for the server; `None` trusts the host's."""

    insecure_skip_tls_verify: bool = False
    """Accept any certificate: whoever is in between can read and change it all."""

    server_name: str | None = None
    """Name to look for in the server's certificate instead of the URL's host."""

    client_certificate: ClientCertificate | None = field(default=None, repr=False)
    """Our certificate, when it is fixed."""

    credentials: Credentials | None = field(default=None, repr=False)
    """Our token or password, or what obtains one."""

    namespace: str = "default"
    """The context's, or the pod's own."""

    context: str = ""
    """Name of the kubeconfig context; empty in a pod."""

    in_pod: bool = False
    """It is a pod's own account that is used."""

    source: str = ""
    """Where all this was read, for messages."""

    user_agent: str = "controller-runtime-python"
    """How we introduce ourselves; the API server's audit log shows it."""

    proxy_url: str | None = field(default=None, repr=False)
    """HTTP proxy; may contain a password."""

    def tls(self, issued: ClientCertificate | None = None) -> ssl.SSLContext:
        """Build the TLS settings; `issued` replaces the certificate. Blocks on disk.

        Raises:
            ssl.SSLError: The certificates are not usable.
        """
        # Not `create_default_context`: from Python 3.13 it refuses CAs without an
        # authority key identifier, which clusters have and Go accepts.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.insecure_skip_tls_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.ca_data is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cadata=self.ca_data.decode("ascii"))
        if (pair := issued or self.client_certificate) is not None:
            _load_pair(context, pair)
        return context


def load(
    *,
    kubeconfig: str | Path | None = None,
    context: str | None = None,
    environ: Mapping[str, str],
    home: Path,
    service_account: Path = SERVICE_ACCOUNT,
    clock: Clock | None = None,
) -> RestConfig:
    """Find and read the settings. Blocks on disk; call it before the loop runs.

    Args:
        kubeconfig: The only file to read, if given.
        context: Name of the kubeconfig context; else the current one. A pod's own
            account has no contexts, so naming one passes over it.
        environ: `KUBECONFIG`, `KUBERNETES_SERVICE_HOST`, `KUBERNETES_SERVICE_PORT`.
        home: Home directory, whose `.kube/config` comes last.
        service_account: Directory of the pod's token, CA and namespace.
        clock: Tells whether a certificate has expired.

    Raises:
        ConfigError: Nothing is there, or what is there cannot be used.
    """
    if kubeconfig:
        return from_kubeconfig(read_kubeconfig([Path(kubeconfig)]), context, clock)
    if listed := listed_files(environ):
        return from_kubeconfig(read_kubeconfig(listed), context, clock)
    if not context and _is_pod(environ, service_account):
        return _from_pod(environ, service_account)
    if (usual := usual_file(home)).exists():
        return from_kubeconfig(read_kubeconfig([usual]), context, clock)
    raise ConfigError(
        f"no kubeconfig was given, KUBECONFIG is not set, {usual} does not exist, and "
        "this is no pod with a service account: name a kubeconfig"
    )


def _is_pod(environ: Mapping[str, str], account: Path) -> bool:
    return bool(environ.get("KUBERNETES_SERVICE_HOST")) and (account / "token").exists()


def _from_pod(environ: Mapping[str, str], account: Path) -> RestConfig:
    host = environ["KUBERNETES_SERVICE_HOST"]
    port = environ.get("KUBERNETES_SERVICE_PORT") or "443"
    here = Entry("pod", host, {"certificate-authority": "ca.crt"}, account / "ca.crt")
    namespace = account / "namespace"
    return RestConfig(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        ca_data=_authority(here),
        credentials=TokenFile(account / "token"),
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
        in_pod=True,
        source=f"the service account in {account}",
    )


def from_kubeconfig(
    merged: Kubeconfig, context: str | None = None, clock: Clock | None = None
) -> RestConfig:
    """Make settings of kubeconfig files that have been read. Blocks on disk.

    Args:
        merged: What the files say.
        context: Name of the context; else the current one.
        clock: Tells whether a certificate has expired.

    Raises:
        ConfigError: What is there cannot be used.
    """
    clock = clock or SystemClock()
    chosen = merged.context(context)
    cluster, user = merged.cluster(chosen), merged.user(chosen)
    server = cluster.text("server").rstrip("/")
    if not server.startswith(("https://", "http://")) or "@" in server:
        raise cluster.error("server", "is no plain http or https URL", "write one")
    authority = _authority(cluster)
    if (insecure := cluster.flag(flag := "insecure-skip-tls-verify")) and authority:
        raise cluster.error(flag, "contradicts its certificate-authority", "drop one")
    return RestConfig(
        server=server,
        ca_data=authority,
        insecure_skip_tls_verify=insecure,
        server_name=cluster.text("tls-server-name") or None,
        client_certificate=_certificate(user, clock),
        credentials=_credentials(user, clock),
        namespace=chosen.text("namespace") or "default",
        context=chosen.name,
        source=merged.files,
        proxy_url=_proxy(cluster),
    )


def _authority(cluster: Entry) -> bytes | None:
    if (data := cluster.content("certificate-authority")) is None:
        return None
    try:
        RestConfig(server="", ca_data=data).tls()
    except (ssl.SSLError, UnicodeDecodeError):
        raise cluster.error(
            "certificate-authority", "is no PEM certificate", "use the cluster's ca.crt"
        ) from None
    return data


def _proxy(cluster: Entry) -> str | None:
    url = cluster.text("proxy-url")
    if url and not url.startswith(("http://", "https://")):
        raise cluster.error("proxy-url", "is no http or https URL", "begin it so")
    return url or None


def _credentials(user: Entry, clock: Clock) -> Credentials | None:
    if user.fields.get("as"):
        raise user.error("as", "is not supported", "use an account of its own")
    if path := user.path("tokenFile"):
        if not path.is_file():
            raise user.error("tokenFile", f"is not at {path}", "correct the path")
        return TokenFile(path)
    if token := user.text("token"):
        return StaticCredentials.bearer(token)
    if name := user.text("username"):
        return StaticCredentials.basic(name, user.text("password"))
    if (settings := user.section("exec")) is not None:
        _require_plugins(user, "exec")
        return PluginCredentials(exec_plugin(located(user, settings), str(user)), clock)
    if (settings := user.section("auth-provider")) is not None:
        _require_plugins(user, "auth-provider")
        return PluginCredentials(auth_provider(settings, str(user)), clock)
    return None


def _require_plugins(
    user: Entry, name: str, *, package: str = "kubernetes_asyncio"
) -> None:
    if importlib.util.find_spec(package) is None:
        raise user.error(
            name, f"needs the package {package}", "pip install 'pilothouse[auth]'"
        )


def located(user: Entry, settings: Mapping[str, object]) -> Mapping[str, object]:
    """Make the command absolute if it is a relative path, as kubectl does.

    Args:
        user: Whose plug-in it is.
        settings: Its field `exec`.

    Raises:
        ConfigError: There is no command.
    """
    command = settings.get("command")
    if not isinstance(command, str) or not command:
        raise user.error("exec", "has no command", "name the program to run")
    if "/" not in command:
        return settings
    return {**settings, "command": str((user.file.parent / command).absolute())}


def _certificate(user: Entry, clock: Clock) -> ClientCertificate | None:
    certificate = user.content("client-certificate")
    key = user.content("client-key")
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        missing = "client-key" if key is None else "client-certificate"
        raise user.error(missing, "is missing", "a certificate and its key go together")
    pair = ClientCertificate(certificate, key)
    _check_pair(user, pair)
    _check_expiry(user, certificate, clock)
    return pair


def _check_pair(user: Entry, pair: ClientCertificate) -> None:
    try:
        _load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), pair)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            problem = "does not belong to the client-certificate"
        else:
            problem = "or its client-certificate is not readable PEM without password"
        raise user.error("client-key", problem, "fetch the pair again") from None


def _load_pair(context: ssl.SSLContext, pair: ClientCertificate) -> None:
    load_pair(context, KeyPair(public=pair.certificate, private=pair.key))


def _check_expiry(user: Entry, certificate: bytes, clock: Clock) -> None:
    try:
        until = not_after(certificate)
    except ValueError:
        return  # OpenSSL can read it; the server's 401 would tell, less clearly
    if until <= clock.now():
        raise ConfigError(
            f"the client certificate of {user} expired on {until:%Y-%m-%d %H:%M} UTC: "
            "renew it, or fetch the kubeconfig again"
        )
