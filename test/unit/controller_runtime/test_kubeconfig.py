"""A configuration written down, for programs that read kubeconfigs."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from controller_runtime import RestConfig, load_restconfig, write_kubeconfig
from controller_runtime.credentials import (
    ClientCertificate,
    Credentials,
    PluginAnswer,
    PluginCredentials,
    StaticCredentials,
    TokenFile,
)
from controller_runtime.testing.clock import FakeClock

PAIR = ClientCertificate(b"certificate", b"key")

AS_DATA = {
    "client-certificate-data": base64.b64encode(b"certificate").decode(),
    "client-key-data": base64.b64encode(b"key").decode(),
}


async def written(config: RestConfig, part: str) -> Any:
    document = json.loads(await write_kubeconfig(config))
    return document[f"{part}s"][0][part]


async def user_of(credentials: Credentials | None) -> Any:
    config = RestConfig(server="https://a.example", credentials=credentials)
    return await written(config, "user")


async def test_what_is_written_is_read_as_it_was(tmp_path: Path) -> None:
    config = RestConfig(
        server="https://a.example:6443/path",
        server_name="b.example",
        credentials=StaticCredentials.bearer("t0ken"),
        namespace="shop",
        proxy_url="http://proxy.example:3128",
        insecure_skip_tls_verify=True,
    )
    path = tmp_path / "kubeconfig"
    path.write_text(await write_kubeconfig(config))

    again = load_restconfig(kubeconfig=path, environ={}, home=tmp_path)

    for name in ("server", "server_name", "namespace", "proxy_url"):
        assert getattr(again, name) == getattr(config, name)
    assert again.insecure_skip_tls_verify
    assert again.credentials is not None
    assert await again.credentials.authorization() == "Bearer t0ken"


async def test_authority_and_certificate_are_in_place() -> None:
    config = RestConfig(
        server="https://a.example", ca_data=b"authority", client_certificate=PAIR
    )

    assert await written(config, "cluster") == {
        "server": "https://a.example",
        "certificate-authority-data": base64.b64encode(b"authority").decode(),
    }
    assert await written(config, "user") == AS_DATA


async def test_a_token_in_a_file_stays_there_since_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert await user_of(TokenFile(Path("token"))) == {
        "tokenFile": str(tmp_path / "token")
    }


async def test_a_password_may_hold_colons() -> None:
    assert await user_of(StaticCredentials.basic("me", "a:b")) == {
        "username": "me",
        "password": "a:b",
    }
    assert await user_of(None) == {}


async def test_what_a_plug_in_issues_is_what_holds_now() -> None:
    tokens = iter(["first", "second"])
    plugin = PluginCredentials(
        lambda: PluginAnswer(f"Bearer {next(tokens)}", PAIR), FakeClock()
    )

    assert await user_of(plugin) == {**AS_DATA, "token": "first"}
    await plugin.refresh()
    assert await user_of(plugin) == {**AS_DATA, "token": "second"}
