"""What gives out tokens for a test registry (distribution/spec/auth: jwt, oauth).

    GET  /token?service=…&scope=…   with a password, or as nobody
    POST /token                     grant_type=password or refresh_token

Nobody may pull, accounts may do what they ask for. A token is a JWT signed by a key
whose certificate travels in it; the registry believes the authority above that.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import ssl
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from controller_runtime.clock import Clock
from controller_runtime.testing.envtest.accounts import Account
from controller_runtime.testing.envtest.certificates import CertificateAuthority

SERVICE = "pilothouse-registry"
"""Who issues tokens and who they are for."""

_ADDRESS = "127.0.0.1"


class TokenServer:
    """A token endpoint on loopback."""

    def __init__(
        self,
        authority: CertificateAuthority,
        accounts: Sequence[Account],
        *,
        clock: Clock,
    ) -> None:
        self.accounts = accounts
        """Who is known."""
        self.life = 300
        """Seconds that new tokens hold; a registry grants another 60."""
        self.issued = 0
        """How many tokens were given out."""
        self.grants: list[str] = []
        """How they were asked for: `GET`, or a `grant_type`."""
        self._clock = clock
        self._pair = authority.server(["localhost"], [_ADDRESS])
        self._key = _load_key(self._pair.private)
        self._runner: web.ServerRunner | None = None
        self._scheme = "http"

    @property
    def url(self) -> str:
        """The realm."""
        if self._runner is None:
            raise RuntimeError("the token server is not running")
        return f"{self._scheme}://{_ADDRESS}:{self._runner.addresses[0][1]}/token"

    async def start(self, *, tls: bool) -> None:
        """Listen on a free port."""
        context = await asyncio.to_thread(self._context) if tls else None
        self._scheme = "https" if tls else "http"
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, _ADDRESS, 0, ssl_context=context).start()

    async def stop(self) -> None:
        """Listen no more."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def refresh_token(self, account: Account) -> str:
        """Return what an account may trade in instead of its password."""
        text = f"{account.username}:{account.hash}"
        return hashlib.sha256(text.encode()).hexdigest()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST":
            form = {name: str(value) for name, value in (await request.post()).items()}
            grant = form.get("grant_type", "")
            user = self._owner(form)
            scopes = form.get("scope", "").split()
        else:
            grant, scopes = "GET", " ".join(request.query.getall("scope", [])).split()
            user = self._visitor(request.headers.get("Authorization"))
        if user is None:
            return web.json_response({"errors": [{"code": "UNAUTHORIZED"}]}, status=401)
        self.issued += 1
        self.grants.append(grant)
        token = self._token(user, scopes)
        return web.json_response({"token": token, "expires_in": self.life})

    def _visitor(self, header: str | None) -> str | None:
        """Return who comes with this header: empty for nobody, `None` for a liar."""
        if header is None:
            return ""
        try:
            text = base64.b64decode(header.removeprefix("Basic ")).decode()
        except ValueError:
            return None
        username, _, password = text.partition(":")
        return self._known(username, password)

    def _owner(self, form: Mapping[str, str]) -> str | None:
        if form.get("grant_type") == "refresh_token":
            given = form.get("refresh_token")
            known = (
                each.username
                for each in self.accounts
                if self.refresh_token(each) == given
            )
            return next(known, None)
        return self._known(form.get("username", ""), form.get("password", ""))

    def _known(self, username: str, password: str) -> str | None:
        is_known = any(each[:2] == (username, password) for each in self.accounts)
        return username if is_known else None

    def _token(self, user: str, scopes: Sequence[str]) -> str:
        now = int(self._clock.now().timestamp())
        claims = {
            "iss": SERVICE,
            "sub": user,
            "aud": SERVICE,
            "iat": now,
            "nbf": now,
            "exp": now + self.life,
            "jti": secrets.token_hex(8),
            "access": [_access(scope, user) for scope in scopes],
        }
        leaf = x509.load_pem_x509_certificate(self._pair.public)
        der = leaf.public_bytes(serialization.Encoding.DER)
        header = {
            "typ": "JWT",
            "alg": "ES256",
            "x5c": [base64.b64encode(der).decode()],
        }
        signed = f"{_encoded(_json(header))}.{_encoded(_json(claims))}"
        return f"{signed}.{_encoded(self._signature(signed.encode()))}"

    def _signature(self, data: bytes) -> bytes:
        r, s = decode_dss_signature(self._key.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")  # RFC 7518, 3.4

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:  # `ssl` reads nothing but files
            context.load_cert_chain(*self._pair.write(Path(folder), "tokens"))
        return context


def _access(scope: str, user: str) -> Mapping[str, object]:
    """Grant a scope such as `repository:org/app:pull,push`; to nobody only pulling."""
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    wanted = actions.split(",")
    granted = wanted if user else [each for each in wanted if each == "pull"]
    return {"type": kind, "name": name, "actions": granted}


def _load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the token server's key is not an elliptic one")
    return key


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
