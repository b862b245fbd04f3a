"""Logging in: SMART Backend Services (private_key_jwt), a bearer token from a file, or nothing. Peer: the EHR's token endpoint."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import uuid4

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from backbone.clock import Clock
from services.ehr_writer.answers import Answer
from services.ehr_writer.errors import BadTargets, EhrDown, NeedsPeople
from services.ehr_writer.targets import Target, is_loopback, origin_of

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_LIFE: Final = timedelta(minutes=4)  # SMART: at most five
RENEW_BEFORE_S: Final = 30.0
DEFAULT_LIFE_S: Final = 300.0
OK: Final = 200

Send = Callable[[httpx.Request], Answer]


class Login(Protocol):
    """Gives the Authorization header of a request to the target, and forgets a token that was refused."""

    def header(self) -> str | None:
        """Return the header's value; EhrDown or NeedsPeople when there is none to be had."""
        ...

    def forget(self) -> bool:
        """Drop the token; True when another one may be had."""
        ...


class Anonymous:
    """No login."""

    def header(self) -> str | None:
        """Return nothing."""
        return None

    def forget(self) -> bool:
        """There is nothing to renew."""
        return False


class Bearer:
    """A token from a file, which is read anew after it was refused."""

    def __init__(self, path: Path) -> None:
        """Read it now, so that a missing file ends the start."""
        self._path = path
        self._token = self._read()

    def header(self) -> str | None:
        """Return the token."""
        return f"Bearer {self._token}"

    def forget(self) -> bool:
        """Read the file again; True when it holds another token."""
        old, self._token = self._token, self._read()
        return old != self._token

    def _read(self) -> str:
        try:
            return self._path.read_text(encoding="utf-8").strip()
        except OSError as fault:
            raise BadTargets(f"key_file {self._path.name}: {fault.strerror}") from fault


class SmartBackend:
    """Access tokens for one target; each assertion has a jti of its own, since servers refuse a second use."""

    def __init__(self, target: Target, send: Send, clock: Clock) -> None:
        """Read the key; nothing is sent yet."""
        self._target, self._send, self._clock = target, send, clock
        self._key, self._algorithm = _read_key(target)
        self._token: str | None = None
        self._renew_at_s = 0.0

    def header(self) -> str | None:
        """Return the token, fetched anew half a minute before it ends."""
        if self._token is None or self._clock.monotonic_s() >= self._renew_at_s:
            self._token = self._fetch()
        return f"Bearer {self._token}"

    def forget(self) -> bool:
        """Drop the token; another one can always be asked for."""
        self._token = None
        return True

    def _fetch(self) -> str:
        url = self._endpoint()
        form = {
            "grant_type": "client_credentials",
            "scope": self._target.scope,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self._assertion(url),
        }
        answer = self._send(httpx.Request("POST", url, data=form, headers={"Accept": "application/json"}))
        token = answer.json.get("access_token")
        if answer.status != OK or not isinstance(token, str):
            raise _login_fault(answer)
        life_s = _life_s(answer.json)
        self._renew_at_s = self._clock.monotonic_s() + max(life_s - RENEW_BEFORE_S, life_s / 2)
        return token

    def _endpoint(self) -> str:
        if self._target.token_url is not None:
            return self._target.token_url
        answer = self._send(httpx.Request("GET", f"{self._target.base_url}/.well-known/smart-configuration"))
        found = answer.json.get("token_endpoint")
        if answer.status != OK or not isinstance(found, str):
            raise EhrDown("no_token_endpoint")
        same_host = origin_of(found)[1] == origin_of(self._target.base_url)[1]
        if not same_host or (not found.startswith("https://") and not is_loopback(found)):
            raise NeedsPeople("token_endpoint_elsewhere")
        return found

    def _assertion(self, audience: str) -> str:
        client, expires = self._target.client_id, self._clock.now() + ASSERTION_LIFE
        claims = {"iss": client, "sub": client, "aud": audience, "exp": int(expires.timestamp()), "jti": uuid4().hex}
        headers = {"kid": self._target.key_id} if self._target.key_id else None
        return jwt.encode(claims, self._key, algorithm=self._algorithm, headers=headers)


def _read_key(target: Target) -> tuple[EllipticCurvePrivateKey | RSAPrivateKey, str]:
    path = target.key_file or Path()
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as fault:
        raise BadTargets(f"target {target.name}: key_file {path.name}: {fault.strerror}") from fault
    except (ValueError, TypeError) as fault:
        raise BadTargets(f"target {target.name}: key_file {path.name}: no private key in PEM without password") from fault
    if isinstance(key, EllipticCurvePrivateKey):
        return key, "ES384"
    if isinstance(key, RSAPrivateKey):
        return key, "RS384"
    raise BadTargets(f"target {target.name}: key_file {path.name}: SMART takes EC P-384 or RSA")


def _life_s(body: dict[str, Any]) -> float:
    life = body.get("expires_in")
    return float(life) if isinstance(life, int | float) and life > 0 else DEFAULT_LIFE_S


def _login_fault(answer: Answer) -> EhrDown | NeedsPeople:
    """A 4xx of the token endpoint is about our registration: people must settle it; the minutes wait."""
    if 400 <= answer.status < 500 and answer.status not in {408, 429}:  # noqa: PLR2004  HTTP's own
        return NeedsPeople("login_refused", words=str(answer.json.get("error_description", ""))[:500])
    return EhrDown("login_unavailable")


def login_of(target: Target, send: Send, clock: Clock) -> Login:
    """Return the target's login; BadTargets when its key cannot be read."""
    match target.auth:
        case "smart":
            return SmartBackend(target, send, clock)
        case "bearer":
            return Bearer(target.key_file or Path())
        case "none":
            return Anonymous()
