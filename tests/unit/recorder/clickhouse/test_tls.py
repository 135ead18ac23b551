"""TLS: who is trusted, who may come in, and that both ways to the server keep to it.

Method: a TLS end in front of the embedded server, with certificates made for the test.
"""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from recorder.clickhouse.clickhouse import ClickHouse
from recorder.clickhouse.tls import Tls
from recorder.config import ClickHouseConfig
from recorder.errors import ClickHouseError, ServerUnreachableError
from tickd.errors import ConfigError
from tickd.native import BlockBuilder
from tickd.testing.events import EventStream

DAY = dt.timedelta(days=1)


class Authority:
    """Signs certificates and leaves them as PEM files."""

    def __init__(self, directory):
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
        own = self._certificate(self._name, self._key.public_key(), authority=True)
        self.file = self._written("ca.pem", own)

    def issue(self, name):
        """A PEM file with certificate and key, good for 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = self._certificate(subject, key.public_key(), authority=False)
        plain = serialization.NoEncryption()
        form = serialization.PrivateFormat.PKCS8
        text = key.private_bytes(serialization.Encoding.PEM, form, plain)
        return self._written(f"{name}.pem", certificate, text)

    def _certificate(self, subject, public_key, *, authority):
        now = dt.datetime.now(dt.UTC)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256())

    def _written(self, name, certificate, key=b""):
        path = self._directory / name
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + key)
        return str(path)


@contextlib.asynccontextmanager
async def tls_end(context, port):
    """Give the port of a TLS end that passes plain bytes to `port`."""
    tasks = set()

    async def pass_on(reader, writer):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader, writer):
        with contextlib.suppress(OSError, asyncio.CancelledError):
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(pass_on(reader, up_writer))
                    group.create_task(pass_on(up_reader, writer))
            except* OSError:
                pass
            finally:
                for each in (writer, up_writer):
                    each.transport.abort()

    def start(reader, writer):
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(start, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def block():
    builder = BlockBuilder(node=1, tables=["trades"])
    builder.push(EventStream(seed=1).batch(100))
    return builder.finish()[0]


async def stored(endpoint, database, port, block, **tls):
    """Insert and count over TLS; both go through, or the first error is raised."""
    config = ClickHouseConfig(
        url=f"https://127.0.0.1:{port}", database=database, password=endpoint.password, **tls
    )
    client = ClickHouse(config)
    try:
        await client.insert_block(block, "token")
        return (await client.query(f"SELECT count() FROM {database}.trades"))[0][0]
    finally:
        await client.close()


@pytest.mark.embedded
async def test_only_a_known_authority_is_trusted(endpoint, database, block, authority, tmp_path):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.issue("server"))
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other")
    port = int(endpoint.url.rpartition(":")[2])
    async with tls_end(context, port) as secure:
        args = (endpoint, database, secure, block)
        assert await stored(*args, ca_file=authority.file) == block.rows
        assert await stored(*args, verify=False) == block.rows
        for tls in ({}, {"ca_file": stranger.file}):
            with pytest.raises(ServerUnreachableError, match=r"(?i)certificate verify failed") as e:
                await stored(*args, **tls)
            assert e.value.outcome == "refused"


@pytest.mark.embedded
async def test_a_server_that_wants_a_certificate_gets_ours(endpoint, database, block, authority):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.file)
    context.load_cert_chain(authority.issue("server"))
    context.verify_mode = ssl.CERT_REQUIRED
    port = int(endpoint.url.rpartition(":")[2])
    async with tls_end(context, port) as secure:
        args = (endpoint, database, secure, block)
        ours = {"ca_file": authority.file, "cert_file": authority.issue("tickd")}
        assert await stored(*args, **ours) == block.rows
        with pytest.raises(ClickHouseError):
            await stored(*args, ca_file=authority.file)


def test_unusable_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.pem"):
        Tls(ca_file=str(tmp_path / "nowhere.pem")).context()
    (tmp_path / "no.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"no\.pem"):
        Tls(cert_file=str(tmp_path / "no.pem")).context()
    assert Tls().context().verify_mode is ssl.CERT_REQUIRED
    assert Tls(verify=False).context().verify_mode is ssl.CERT_NONE
