"""Logging in with SMART Backend Services; the peer is a function."""

from datetime import UTC, datetime
from pathlib import Path

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from services.ehr_writer.answers import Answer
from services.ehr_writer.errors import BadTargets, EhrDown, NeedsPeople
from services.ehr_writer.smart import SmartBackend
from services.ehr_writer.targets import Target

BASE = "https://ehr.example/fhir"


class Clock:
    def __init__(self) -> None:
        self.at_s = 1000.0

    def now(self) -> datetime:
        return datetime(2026, 11, 21, tzinfo=UTC)

    def monotonic_s(self) -> float:
        return self.at_s


class Server:
    """Answers discovery and token requests; keeps the assertions."""

    def __init__(self, endpoint: str = "https://ehr.example/auth/token", status: int = 200) -> None:
        self.endpoint, self.status = endpoint, status
        self.assertions: list[str] = []

    def __call__(self, request: httpx.Request) -> Answer:
        if request.url.path.endswith("smart-configuration"):
            return Answer(200, {}, b'{"token_endpoint": "%s"}' % self.endpoint.encode())
        fields = httpx.QueryParams(request.content.decode())
        self.assertions.append(fields["client_assertion"])
        return Answer(self.status, {}, b'{"access_token": "t%d", "expires_in": 300}' % len(self.assertions))

    def claims(self) -> list[dict]:
        return [jwt.decode(a, options={"verify_signature": False}) for a in self.assertions]


def key_file(folder: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> Path:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(pem)
    return folder / "key.pem"


@pytest.fixture
def target(tmp_path) -> Target:
    path = key_file(tmp_path, ec.generate_private_key(ec.SECP384R1()))
    return Target(name="main", base_url=BASE, client_id="sopor", key_file=path, key_id="k1", identifier_system="urn:oid:1")


def test_the_assertion_says_who_we_are_to_the_token_endpoint_for_less_than_five_minutes(target):
    server, clock = Server(), Clock()

    SmartBackend(target, server, clock).header()

    (claims,) = server.claims()
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("sopor", "sopor", server.endpoint)
    assert claims["exp"] - clock.now().timestamp() <= 300
    assert jwt.get_unverified_header(server.assertions[0]) == {"alg": "ES384", "kid": "k1", "typ": "JWT"}


def test_an_rsa_key_signs_with_rs384(target, tmp_path):
    server = Server()
    path = key_file(tmp_path, rsa.generate_private_key(65537, 2048))

    SmartBackend(target.model_copy(update={"key_file": path}), server, Clock()).header()

    assert jwt.get_unverified_header(server.assertions[0])["alg"] == "RS384"


def test_a_token_is_kept_until_half_a_minute_before_its_end(target):
    server, clock = Server(), Clock()
    login = SmartBackend(target, server, clock)

    headers = [login.header()]
    clock.at_s += 269
    headers.append(login.header())
    clock.at_s += 1
    headers.append(login.header())

    assert headers == ["Bearer t1", "Bearer t1", "Bearer t2"]


def test_every_fetch_has_a_jti_of_its_own(target):
    server = Server()
    login = SmartBackend(target, server, Clock())

    for _ in range(3):
        login.forget()
        login.header()

    assert len({claims["jti"] for claims in server.claims()}) == 3


@pytest.mark.parametrize("endpoint", ["https://evil.example/token", "http://ehr.example/token"])
def test_no_assertion_goes_to_a_discovered_endpoint_elsewhere(target, endpoint):
    server = Server(endpoint)

    with pytest.raises(NeedsPeople, match="token_endpoint_elsewhere"):
        SmartBackend(target, server, Clock()).header()

    assert server.assertions == []


@pytest.mark.parametrize(("status", "fault"), [(401, NeedsPeople), (400, NeedsPeople), (503, EhrDown), (429, EhrDown)])
def test_a_refused_login_waits_for_people_and_an_absent_one_for_the_server(target, status, fault):
    with pytest.raises(fault):
        SmartBackend(target, Server(status=status), Clock()).header()


def test_a_file_that_is_no_key_is_named(target, tmp_path):
    (tmp_path / "no.pem").write_text("hello")

    with pytest.raises(BadTargets, match=r"no\.pem: no private key"):
        SmartBackend(target.model_copy(update={"key_file": tmp_path / "no.pem"}), Server(), Clock())
