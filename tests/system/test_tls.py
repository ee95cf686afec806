"""Redis and Kafka by TLS, real ones and servers that nobody should trust, and who is let in."""

import asyncio
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from helpers.waiting import wait_for

from connectors.admission.options import RedisOptions
from connectors.admission.redis import RedisSenderLimit
from connectors.inbox.options import InboxRedisOptions
from connectors.inbox.redis import RedisInboxStore
from connectors.log.interface import NewRecord, TopicSpec
from connectors.log.kafka.log import KafkaLog
from connectors.log.kafka.options import KafkaOptions
from connectors.rates.redis import RedisBucket
from connectors.redis_client import RedisClient, blocking_redis
from connectors.sandbox.certificates import SandboxFiles, make_certificates
from infra.services import free_port, start_kafka, start_redis
from state.model.errors import LogError, StoreUnavailableError

PASSWORD = "a-password-for-tests"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> SandboxFiles:
    """An authority, and a server's certificates for 127.0.0.1 and localhost."""
    made = SandboxFiles(tmp_path_factory.mktemp("certificates"))
    make_certificates(made)
    return made


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> SandboxFiles:
    """Those of an authority that nobody here knows."""
    made = SandboxFiles(tmp_path_factory.mktemp("stranger"))
    make_certificates(made)
    return made


@contextmanager
def tls_server(certificate: Path, *, old: bool = False) -> Iterator[tuple[int, list[bytes]]]:
    """Takes whoever trusts it, and keeps what it is told. `old`: it speaks TLS 1.1 at most."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if old:
        no_newer(context)
    heard: list[bytes] = []
    listener = socket.create_server(("0.0.0.0", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            plain.settimeout(20)
            try:
                with context.wrap_socket(plain, server_side=True) as connection:
                    heard.append(connection.recv(1024))
            except OSError:
                plain.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], heard
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def no_newer(context: ssl.SSLContext) -> None:
    """TLS 1.1 at most, with the signatures of its day."""
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1


def redis_options(port: int, ca: Path, host: str = "127.0.0.1", user: str = "") -> RedisOptions:
    deadline = timedelta(seconds=30 if user else 5)
    return RedisOptions(f"rediss://{user}{host}:{port}/0?ssl_ca_certs={ca}", deadline=deadline)


def asks_redis(host: str, port: int, ca: Path) -> None:
    async def ask() -> None:
        client = RedisClient(redis_options(port, ca, host))
        try:
            await client.answer(client.redis.ping())
        finally:
            await client.close()

    with pytest.raises(StoreUnavailableError):
        asyncio.run(ask())


def asks_redis_in_a_thread(host: str, port: int, ca: Path) -> None:
    from redis.exceptions import RedisError

    with blocking_redis(redis_options(port, ca, host)) as client, pytest.raises((RedisError, OSError)):
        client.ping()


def asks_kafka(host: str, port: int, ca: Path) -> None:
    settings = {"security.protocol": "ssl", "ssl.ca.location": str(ca)}
    log = KafkaLog(f"{host}:{port}", options=KafkaOptions(deadline=timedelta(seconds=2), client_settings=settings))
    try:
        with pytest.raises(LogError):
            log.append([NewRecord("audit", 0, b"k", b"secret")])
    finally:
        log.close()


CLIENTS = (asks_redis, asks_redis_in_a_thread, asks_kafka)


@pytest.mark.parametrize("fault", ["unknown authority", "other host", "expired", "TLS 1.1"])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_server_that_cannot_be_trusted_hears_nothing(
    files: SandboxFiles, stranger: SandboxFiles, client: Callable[[str, int, Path], None], fault: str
) -> None:
    certificate = {"unknown authority": stranger.server, "expired": files.expired}.get(fault, files.server)
    host = "127.0.0.2" if fault == "other host" else "127.0.0.1"
    with tls_server(certificate, old=fault == "TLS 1.1") as (port, heard):
        client(host, port, files.ca)
        assert heard in ([], [b""]), "not a byte of what we say"


@pytest.mark.parametrize("client", CLIENTS)
def test_the_same_server_hears_who_may_trust_it(files: SandboxFiles, client: Callable[[str, int, Path], None]) -> None:
    """So what the test above sees is the certificate's doing: this one is no Redis and no Kafka either."""
    with tls_server(files.server) as (port, heard):

        def hears() -> bool:
            """A client gives up in time, on a slow machine before it has said anything: then it tries again."""
            client("127.0.0.1", port, files.ca)
            return any(heard)

        wait_for(hears, what="it hears")


def test_the_old_server_hears_who_speaks_as_it_does(files: SandboxFiles) -> None:
    context = ssl.create_default_context(cafile=str(files.ca))
    no_newer(context)
    with tls_server(files.server, old=True) as (port, heard):
        plain = socket.create_connection(("127.0.0.1", port))
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            connection.sendall(b"hello")
            connection.recv(1)
        assert heard == [b"hello"]


ACL = "+@all -@admin -@dangerous +info"
"""As OPERATING has it."""


@pytest.fixture(scope="module")
def redis_port(files: SandboxFiles) -> Iterator[int]:
    """By TLS, for a user with a password who may do what Carillon does."""
    port = free_port()
    server = start_redis(
        "--tls-port", str(port), "--tls-cert-file", str(files.server), "--tls-key-file", str(files.server),
        "--tls-ca-cert-file", str(files.ca), "--tls-auth-clients", "no", "--maxmemory-policy", "noeviction",
        "--user", "default", "off", "--user", "carillon", "on", f">{PASSWORD}", "~carillon*", *ACL.split(),
    )  # fmt: skip
    try:
        yield port
    finally:
        server.stop()


def test_a_real_redis_by_tls_with_a_restricted_user_serves_rates_and_inboxes(
    files: SandboxFiles, redis_port: int
) -> None:
    user = f"carillon:{PASSWORD}@"
    options = redis_options(redis_port, files.ca, user=user)

    async def lease() -> int:
        bucket = RedisBucket(options, ("push", "*"), "apns", rate_per_s=40.0, p0_share=0.25)
        try:
            return (await bucket.lease(2)).given
        finally:
            await bucket.close()

    assert asyncio.run(lease()) > 0
    RedisInboxStore(InboxRedisOptions(options.url), partition=0).close()

    async def admit() -> None:
        limit = RedisSenderLimit(options)
        try:
            assert (await limit.take("shop", 1, limit=5, now_ms=1_000)).granted == 1
        finally:
            await limit.close()

    asyncio.run(admit())


@pytest.mark.parametrize("user", ["", "carillon:wrong@", "default:@"])
def test_a_real_redis_lets_nobody_else_in(files: SandboxFiles, redis_port: int, user: str) -> None:
    from redis.exceptions import RedisError

    with blocking_redis(redis_options(redis_port, files.ca, user=user)) as client, pytest.raises(RedisError):
        client.get("carillon:x")


@pytest.mark.parametrize("command", ["FLUSHALL", "CONFIG GET requirepass", "KEYS *", "ACL LIST", "GET others"])
def test_the_user_of_redis_may_do_no_more(files: SandboxFiles, redis_port: int, command: str) -> None:
    from redis.exceptions import NoPermissionError

    user = f"carillon:{PASSWORD}@"
    with blocking_redis(redis_options(redis_port, files.ca, user=user)) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command.split())


def test_a_real_broker_by_tls_takes_who_proves_himself_and_nobody_else(files: SandboxFiles) -> None:
    login = {"security.protocol": "sasl_ssl", "sasl.mechanism": "PLAIN", "ssl.ca.location": str(files.ca)}
    known = {**login, "sasl.username": "carillon", "sasl.password": PASSWORD}
    accounts = f'user_carillon="{PASSWORD}" username="carillon" password="{PASSWORD}"'
    broker = {
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:SASL_SSL",
        "ssl.keystore.type": "PEM", "ssl.keystore.location": str(files.server), "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(files.ca), "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.plaintext.plain.sasl.jaas.config":
            f"org.apache.kafka.common.security.plain.PlainLoginModule required {accounts};",
    }  # fmt: skip
    cluster = start_kafka(settings=broker, client=known)
    try:
        with kafka(cluster.bootstrap, known, 60) as log:
            log.ensure_topics([TopicSpec("audit", 1)])
            assert log.append([NewRecord("audit", 0, b"k", b"value")]) == [0]
            assert read_one(log) == b"value"
        wrong: tuple[Mapping[str, str], ...] = (
            {}, {**known, "sasl.password": "wrong"}, {**known, "security.protocol": "sasl_plaintext"},
            {**login, "security.protocol": "ssl"}, {name: value for name, value in known.items() if "ca" not in name},
        )  # fmt: skip
        for settings in wrong:
            with kafka(cluster.bootstrap, settings) as log, pytest.raises(LogError):
                log.append([NewRecord("audit", 0, b"k", b"forged")])
        with kafka(cluster.bootstrap, known, 60) as log:
            assert log.end_offset("audit", 0) == 1
    finally:
        cluster.stop()


@contextmanager
def kafka(bootstrap: str, settings: Mapping[str, str], seconds: float = 3) -> Iterator[KafkaLog]:
    """For `known` with patience: others are refused, and each waits for the whole time."""
    options = KafkaOptions(deadline=timedelta(seconds=seconds), client_settings=settings)
    log = KafkaLog(bootstrap, options=options)
    try:
        yield log
    finally:
        log.close()


def read_one(log: KafkaLog) -> bytes:
    reader = log.reader({("audit", 0): 0})
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            for record in reader.poll(10, timedelta(milliseconds=200)):
                return bytes(record.value)
        return b""
    finally:
        reader.close()
