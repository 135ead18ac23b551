"""The operator's HTTP port: /metrics, /healthz, /readyz, on loopback unless told otherwise.

It renders what others measured; it measures nothing. Who may ask is decided here, how many at a
time in `tickd/app/doorkeeper.py`.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Awaitable, Callable
from hmac import compare_digest
from typing import Any, Final

import structlog
from aiohttp import web

from tickd.app.doorkeeper import Doorkeeper, Served
from tickd.app.http_config import HttpConfig
from tickd.errors import Action, TickdError
from tickd.secrets import Secret
from tickd.telemetry.exemplars import Exemplars
from tickd.telemetry.exposition import CONTENT_TYPE
from tickd.telemetry.metrics import Metrics
from tickd.telemetry.openmetrics import CONTENT_TYPE_OPENMETRICS, MEDIA_TYPE, openmetrics_of

log = structlog.get_logger(__name__)

BODY_BYTES_MAX: Final = 1 << 16  # nobody has anything to send
OPEN_PATHS: Final = frozenset({"/healthz"})
CONNECTIONS_MAX: Final = 64
HANDSHAKE_S: Final = 5.0
# A connection is closed at this age, whatever it does: who sends a byte a second holds no place.
LIFETIME_S: Final = 60.0
_BEARER: Final = "bearer "

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpServer:
    """Serves metrics and two probes.

    `ready` returns an empty text when the daemon records, else what it waits for.
    """

    def __init__(self, config: HttpConfig, *, metrics: Metrics, ready: Callable[[], str]) -> None:
        self._config = config
        self.metrics = metrics
        # Of traced batches; with them a client that can read OpenMetrics gets it.
        self.exemplars: Exemplars | None = None
        self._ready = ready
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._doorkeeper: Doorkeeper | None = None
        self._context: ssl.SSLContext | None = None
        self.port = 0
        self.refused_total = 0  # for want of the token

    @property
    def is_exposed(self) -> bool:
        """Whether others may reach the port without token or TLS, as `insecure` allows."""
        return bool(self._config.lacks)

    @property
    def connections_count(self) -> int:
        return 0 if self._doorkeeper is None else self._doorkeeper.count

    @property
    def turned_away_total(self) -> int:
        """Connections for which there was no place."""
        return 0 if self._doorkeeper is None else self._doorkeeper.turned_away_total

    async def start(self) -> None:
        """Listen. Raises TickdError(FATAL): the certificate cannot be used; OSError: the port."""
        config = self._config
        self._context = context_of(config)
        if config.lacks:
            log.warning("http_exposed", host=config.host, lacks=config.lacks, key="http.insecure")
        app = web.Application(
            client_max_size=BODY_BYTES_MAX, middlewares=[self._admit] if config.token else []
        )
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        assert self._runner.server is not None, "setup makes it"
        loop = asyncio.get_running_loop()
        self._doorkeeper = Doorkeeper(
            self._serve_one, loop.call_later, count_max=CONNECTIONS_MAX, lifetime_s=LIFETIME_S
        )
        # Without `ssl`, or each connection would have its handshake before the doorkeeper sees it.
        self._server = await loop.create_server(self._doorkeeper.admit, config.host, config.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def _serve_one(self) -> Served:
        """Return who serves one connection that has its place, over TLS where that is asked for."""
        assert self._runner is not None, "it listens"
        assert self._runner.server is not None, "it listens"
        inner = self._runner.server()
        if self._context is None:
            return inner
        return _over_tls(inner, self._context)

    def renew(self) -> None:
        """Take the certificate of the files for new connections; one that fails changes nothing."""
        if self._context is None:
            return
        try:
            # A new one: loading into the old replaces its certificate before it looks at the key.
            self._context = context_of(self._config)
        except TickdError as error:
            log.error("http_certificate_refused", words=str(error))  # noqa: TRY400 - expected
        else:
            log.info("http_certificate_renewed", path=self._config.cert_file)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in who has the token; unknown paths are told to nobody else, either."""
        assert self._config.token is not None, "only then it is asked"
        if request.path in OPEN_PATHS or _is_bearer(request, self._config.token):
            return await handler(request)
        self.refused_total += 1
        return web.Response(
            status=401, text="a token is needed\n", headers={"WWW-Authenticate": "Bearer"}
        )

    async def _metrics(self, request: web.Request) -> web.Response:
        body = self.metrics.text()
        if self.exemplars is None or MEDIA_TYPE not in request.headers.get("Accept", ""):
            return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})
        text = openmetrics_of(body.decode(), self.exemplars)
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE_OPENMETRICS})

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        waiting_for = self._ready()
        if waiting_for:
            return web.Response(status=503, text=f"{waiting_for}\n")
        return web.Response(text="ready\n")


def _over_tls(inner: asyncio.Protocol, context: ssl.SSLContext) -> asyncio.BufferedProtocol:
    """Return asyncio's own TLS around it, which runs on the transport of any loop.

    `loop.start_tls` would need a task for each connection, and what comes between its end and that
    task's next step would reach a protocol that does not know its transport yet.
    """
    make: Any = SSLProtocol  # typeshed demands whole seconds, and a future that nobody awaits
    made: asyncio.BufferedProtocol = make(
        asyncio.get_running_loop(),
        inner,
        context,
        None,
        server_side=True,
        ssl_handshake_timeout=HANDSHAKE_S,
        ssl_shutdown_timeout=HANDSHAKE_S,
    )
    return made


def _is_bearer(request: web.Request, token: Secret) -> bool:
    """Compare in a time that does not tell how much of it was right."""
    said = request.headers.getall("Authorization", [])
    if len(said) != 1 or said[0][: len(_BEARER)].lower() != _BEARER:
        return False
    # What came in may hold any byte: aiohttp keeps those as surrogates.
    presented = said[0][len(_BEARER) :].encode(errors="surrogateescape")
    return compare_digest(presented, token.reveal().encode())


def context_of(config: HttpConfig) -> ssl.SSLContext | None:
    """Return what TLS needs; None: plain text. Raises TickdError(FATAL): no such certificate."""
    if config.cert_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(config.cert_file, config.key_file, password=_no_password)
    except (OSError, ValueError) as error:
        raise TickdError(
            f"http: certificate {config.cert_file} with key {config.key_file}: {error}",
            action=Action.FATAL,
            hint="PEM files: the certificate with its chain, and its key without a password",
        ) from error
    return context


def _no_password() -> str:
    """Never ask on a terminal that is not there."""
    raise ValueError("the key has a password")
