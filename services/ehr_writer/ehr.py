"""One EHR over FHIR R4 REST: find a patient, store a resource once. Peer: the server at `base_url`.

How something is stored once depends on what the CapabilityStatement offers: PUT with our own id, else conditional create, else a search
before each create. No redirect is followed, and the token goes to the scheme, host and port of `base_url` only.
"""

import ssl
from datetime import timedelta
from enum import StrEnum
from typing import Final
from urllib.parse import quote
from uuid import uuid4

import httpx

from backbone.clock import Clock
from services.ehr_writer.answers import Answer, judge
from services.ehr_writer.codes import Json
from services.ehr_writer.errors import EhrDown, EhrRefused, NeedsPeople
from services.ehr_writer.smart import login_of
from services.ehr_writer.targets import Target, origin_of

FHIR_JSON: Final = "application/fhir+json"
MOST_BYTES: Final = 4_000_000  # of one answer; a CapabilityStatement is the largest (sekmet's: 0.4 MB)
CAPABILITY_LIFE: Final = timedelta(minutes=10)
UNAUTHORIZED: Final = 401


class Strategy(StrEnum):
    """How one type of resource is stored once."""

    OWN_ID = "own-id"  # PUT Type/{our id}: idempotent by nature
    CONDITIONAL = "conditional"  # POST with If-None-Exist
    SEARCH_FIRST = "search-first"  # search, then POST


def strategy_of(capability: Json, kind: str) -> Strategy:
    """Return how the server lets us store this type once, by its CapabilityStatement."""
    rest: list[Json] = capability.get("rest") or [{}]
    resources: list[Json] = rest[0].get("resource") or []
    offers: Json = next((r for r in resources if r.get("type") == kind), {})
    interactions = {i.get("code") for i in offers.get("interaction") or []}
    if offers.get("updateCreate") and "update" in interactions:
        return Strategy.OWN_ID
    return Strategy.CONDITIONAL if offers.get("conditionalCreate") else Strategy.SEARCH_FIRST


def _escaped(value: str) -> str:
    """Return a token for a search parameter (FHIR R4 search 3.1.1.5.0.1: backslash before its separators)."""
    for separator in ("\\", "|", ",", "$"):
        value = value.replace(separator, f"\\{separator}")
    return value


def _carries(resource: Json, system: str, value: str) -> bool:
    return any(i.get("system") == system and i.get("value") == value for i in resource.get("identifier") or [])


class Ehr:
    """A connection to one target, used by one worker at a time. `within` must be called at the start of each try."""

    def __init__(self, target: Target, clock: Clock, request_s: float) -> None:
        """Take the target; nothing is sent yet. BadTargets when its key cannot be read."""
        self.target = target
        self._clock, self._request_s = clock, request_s
        trusted = ssl.create_default_context(cafile=target.ca_file)
        self._client = httpx.Client(follow_redirects=False, trust_env=False, verify=trusted, headers={"Accept": FHIR_JSON})
        self._login = login_of(target, self._send, clock)
        self._ends_at_s = clock.monotonic_s() + request_s
        self._capability: Json | None = None
        self._capability_until_s = 0.0

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def within(self, try_s: float) -> None:
        """Start a try: all its requests together take no longer than this."""
        self._ends_at_s = self._clock.monotonic_s() + try_s

    # ---- what the writer asks for ----------------------------------------------------------------------------------------------

    def find_patient(self, value: str) -> Json:
        """Return the one active Patient with this identifier; NeedsPeople when there is none, or more than one."""
        system = self.target.identifier_system
        form = {"identifier": f"{_escaped(system)}|{_escaped(value)}"}
        # POST: the identifier shall not stand in the URLs that servers and proxies log.
        entries = self._search(httpx.Request("POST", f"{self.target.base_url}/Patient/_search", data=form), "Patient")
        found = [p for p in entries if _carries(p, system, value) and p.get("active") is not False]
        if len({p.get("id") for p in found}) != 1:
            raise NeedsPeople("patient_ambiguous" if found else "patient_absent")
        return found[0]

    def store(self, resource: Json, query: dict[str, str]) -> tuple[str, str | None]:
        """Store the resource once; `query` finds it again. Return its id and version there."""
        match self._strategy(resource["resourceType"]):
            case Strategy.OWN_ID:
                return self._put(resource)
            case Strategy.CONDITIONAL:
                return self._post(resource, query, conditional=True)
            case Strategy.SEARCH_FIRST:
                found = self.find(resource["resourceType"], query)
                return (found["id"], _version(found)) if found else self._post(resource, query, conditional=False)

    def find(self, kind: str, query: dict[str, str]) -> Json | None:
        """Return the one resource that a search finds, None for none; NeedsPeople for several."""
        entries = self._search(httpx.Request("GET", f"{self.target.base_url}/{kind}", params=query), kind)
        if "identifier" in query:  # a server that ignores the parameter answers with everything it has
            system, _, value = query["identifier"].partition("|")
            entries = [e for e in entries if _carries(e, system, value)]
        if len({e.get("id") for e in entries}) > 1:
            raise NeedsPeople("several_in_ehr")
        return entries[0] if entries else None

    # ---- how ------------------------------------------------------------------------------------------------------------------

    def _put(self, resource: Json) -> tuple[str, str | None]:
        answer = self._ask(self._request("PUT", f"{resource['resourceType']}/{resource['id']}", resource))
        return resource["id"], _version_of_answer(answer)

    def _post(self, resource: Json, query: dict[str, str], *, conditional: bool) -> tuple[str, str | None]:
        kind = resource["resourceType"]
        request = self._request("POST", kind, {name: value for name, value in resource.items() if name != "id"})
        if conditional:
            request.headers["If-None-Exist"] = "&".join(f"{name}={quote(value, safe='|/:')}" for name, value in query.items())
        answer = self._ask(request)
        found = answer.json.get("id") or _id_in(answer.headers.get("location", ""), kind)
        if not found:
            again = self.find(kind, query)
            if again is None:
                raise EhrRefused("stored_but_not_found")
            return again["id"], _version(again)
        return str(found), _version_of_answer(answer)

    def _search(self, request: httpx.Request, kind: str) -> list[Json]:
        bundle = self._ask(request).json
        if bundle.get("resourceType") != "Bundle":
            raise EhrDown("search_without_bundle", outage=False)
        resources = [e.get("resource") for e in bundle.get("entry") or [] if isinstance(e, dict)]
        return [r for r in resources if isinstance(r, dict) and r.get("resourceType") == kind and r.get("id")]

    def _strategy(self, kind: str) -> Strategy:
        if self._capability is None or self._clock.monotonic_s() >= self._capability_until_s:
            self._capability = self._ask(httpx.Request("GET", f"{self.target.base_url}/metadata")).json
            self._capability_until_s = self._clock.monotonic_s() + CAPABILITY_LIFE.total_seconds()
        return strategy_of(self._capability, kind)

    def _request(self, method: str, path: str, resource: Json) -> httpx.Request:
        headers = {"Content-Type": FHIR_JSON, "Prefer": "return=minimal"}
        return httpx.Request(method, f"{self.target.base_url}/{path}", json=resource, headers=headers)

    def _ask(self, request: httpx.Request) -> Answer:
        """Send with our token; once more with a new one after a 401. Return an answer that took the request."""
        answer = self._authorised(request)
        if answer.status == UNAUTHORIZED and self._login.forget():
            answer = self._authorised(request)
        judge(answer, self._clock.now())
        return answer

    def _authorised(self, request: httpx.Request) -> Answer:
        header = self._login.header()
        if header is not None and origin_of(str(request.url)) == origin_of(self.target.base_url):
            request.headers["Authorization"] = header
        return self._send(request)

    def _send(self, request: httpx.Request) -> Answer:
        """Send one request; EhrDown when no whole answer came in time (it may have been carried out all the same)."""
        left_s = self._ends_at_s - self._clock.monotonic_s()
        if left_s <= 0:
            raise EhrDown("try_too_long")
        request.headers.setdefault("Accept", FHIR_JSON)
        request.headers["X-Request-Id"] = str(uuid4())
        request.extensions["timeout"] = httpx.Timeout(min(self._request_s, left_s)).as_dict()
        try:
            return self._read(self._client.send(request, stream=True))
        except httpx.TimeoutException as fault:
            raise EhrDown("timeout") from fault
        except httpx.TransportError as fault:
            raise EhrDown("unreachable" if isinstance(fault, httpx.ConnectError) else "connection_lost") from fault

    def _read(self, response: httpx.Response) -> Answer:
        body = bytearray()
        try:
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise EhrDown("answer_too_long", outage=False)
                if self._clock.monotonic_s() > self._ends_at_s:
                    raise EhrDown("try_too_long")
        except httpx.DecodingError as fault:
            raise EhrDown("answer_unreadable", outage=False) from fault
        finally:
            response.close()
        return Answer(response.status_code, {name.lower(): value for name, value in response.headers.items()}, bytes(body))


def _version(resource: Json) -> str | None:
    version: str | None = resource.get("meta", {}).get("versionId")
    return version


def _version_of_answer(answer: Answer) -> str | None:
    etag = answer.headers.get("etag", "")
    return etag.removeprefix("W/").strip('"') or _version(answer.json)


def _id_in(location: str, kind: str) -> str | None:
    """Return the id in `.../Observation/123/_history/1`."""
    parts = location.partition("?")[0].split("/")
    positions = [n for n, part in enumerate(parts) if part == kind]
    return parts[positions[-1] + 1] if positions and positions[-1] + 1 < len(parts) else None
