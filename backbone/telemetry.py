"""Logs and metrics without patients: one JSON event a line, only fields of an allow-list, counters by closed labels."""

import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

# Deny by default: a field that is not here is dropped and its name counted under `dropped_fields`. Values that came out of a device
# message (names, identifiers, free text) have no name here and so cannot reach a log.
ALLOWED_FIELDS: Final = frozenset(
    """event level timestamp process action address attempts backoff_s bed bundle bytes case_id cell code coding_system count
    cursor deadline_s digest duration_s elapsed_ms entries error error_type exit_code fault field file frames generation
    index index_s interval_s kind lag_s late_s line limit listener mapping messages mode model name offset_s partition path
    peer pid port position reason received records refused room rss_mb scenario second seconds segment sequence service
    setting severity signal signals site size source speed state status step step_s stream target tier unit url version what
    windows written""".split()  # noqa: SIM905  a list of forty words reads better as text
)

_process: dict[str, str] = {"name": "sopor"}


def _only_allowed(_: Any, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:  # noqa: ANN401  structlog's own signature
    """Drop every field that is not on the allow-list, and say how many were."""
    kept = {key: value for key, value in event.items() if key in ALLOWED_FIELDS}
    dropped = sorted(set(event) - set(kept))
    if dropped:
        kept["dropped_fields"] = dropped
    kept["process"] = _process["name"]
    return kept


def configure(process: str) -> None:
    """Set up logging for this process: JSON lines on stderr."""
    _process["name"] = process
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _only_allowed,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def logger() -> structlog.typing.FilteringBoundLogger:
    """Return the process's logger: `logger().info("an_event", count=3)`."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return bound


REGISTRY: Final = CollectorRegistry()


def counter(name: str, text: str, *labels: str) -> Counter:
    """Return a counter `sopor_<name>_total`; labels take values of closed sets only, never a patient's."""
    return Counter(f"sopor_{name}", text, labels, registry=REGISTRY)


def gauge(name: str, text: str, *labels: str) -> Gauge:
    """Return a gauge `sopor_<name>`."""
    return Gauge(f"sopor_{name}", text, labels, registry=REGISTRY)


def histogram(name: str, text: str, *labels: str) -> Histogram:
    """Return a histogram `sopor_<name>` (base unit in the name, seconds)."""
    buckets = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
    return Histogram(f"sopor_{name}", text, labels, registry=REGISTRY, buckets=buckets)


def serve_metrics(port: int | None) -> None:
    """Serve the metrics on loopback, when a port is set."""
    if port is not None:
        start_http_server(port, addr="127.0.0.1", registry=REGISTRY)
