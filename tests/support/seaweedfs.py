"""A real S3 server on loopback, over TLS with a certificate of its own.

    with SeaweedServer(directory) as server:
        server.client().put_object(Bucket=server.bucket, Key="key", Body=b"body")

It answers health checks before it takes writes, so a canary object is put first. It needs 20 s to
end when asked, so it is killed: what was acknowledged survives that.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import botocore.exceptions
import botocore.session
from botocore.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bodycam_ingest.config import FileCredentials, S3StoreConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BUCKET = "evidence"
LOCKED_BUCKET = "locked"
_START_TIMEOUT_S = 60.0
_PORTS = 9
_PORTS_FROM, _SPANS, _SPAN_PORTS = 20_000, 8, 1_500
_ACTIONS = ("Read", "Write", "List", "Tagging", "PutObjectRetention", "GetObjectRetention")


def write_certificate(directory: Path, *, also: Sequence[str] = ()) -> tuple[Path, Path]:
    """A self-made certificate for loopback and its key, valid for a day.

    Args:
        directory: where both are written.
        also: further addresses that it stands for.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(tz=dt.UTC)
    addresses = [ipaddress.ip_address(address) for address in ("127.0.0.1", *also)]
    names = [x509.DNSName("localhost"), *(x509.IPAddress(address) for address in addresses)]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = directory / "cert.pem", directory / "key.pem"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    key_path.chmod(0o600)
    return certificate_path, key_path


def free_ports(count: int) -> list[int]:
    """Ports that are free on loopback now, and that nobody else is about to take.

    They lie below those that outgoing connections get, each process of a run in a span of its own:
    between the look and the server's start nothing holds them.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = _PORTS_FROM + worker % _SPANS * _SPAN_PORTS
    with ExitStack() as stack:
        found: list[int] = []
        for port in random.sample(range(first, first + _SPAN_PORTS), _SPAN_PORTS):
            if len(found) == count:
                break
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
                found.append(port)
        return found


class SeaweedServer:
    """The server, its bucket and the keys of an uploader that may not delete.

    Args:
        directory: where it keeps everything; should be empty.
        also: addresses besides loopback by which clients know it.
    """

    def __init__(self, directory: Path, *, also: Sequence[str] = ()) -> None:
        self.directory = directory
        self.bucket = BUCKET
        self.access_key = "AKUPLOADER"
        self.secret_key = secrets.token_hex(16)
        self._admin_secret = secrets.token_hex(16)
        self.ca_bundle, self._key = write_certificate(directory, also=also)
        self.keys_file = self.write_keys_file(directory / "keys.ini")
        self._ports = free_ports(_PORTS)
        self._process: subprocess.Popen[bytes] | None = None
        # A client takes longer to make than most tests take.
        self._clients: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """For a process that uses the server and does not own it."""
        return {**self.__dict__, "_process": None, "_clients": {}}

    @property
    def http_port(self) -> int:
        """Where it listens without TLS."""
        return self._ports[0]

    @property
    def https_port(self) -> int:
        """Where it listens with TLS."""
        return self._ports[1]

    @property
    def certificate(self) -> tuple[Path, Path]:
        """Certificate and key, for a proxy in front."""
        return self.ca_bundle, self._key

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.https_port}"

    def __enter__(self) -> Self:
        try:
            self.start()
        except RuntimeError:
            # Another process took one of the ports between the look and the start.
            shutil.rmtree(self.directory / "data")
            self._ports = free_ports(_PORTS)
            self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it takes writes; once more on the same ports after `stop`."""
        binary = Path(sys.executable).parent / "weed"
        config = self.directory / "s3.json"
        config.write_text(json.dumps(self._identities()), encoding="utf-8")
        (self.directory / "data").mkdir(exist_ok=True)
        (self.directory / "log").mkdir(exist_ok=True)
        with (self.directory / "weed.out").open("ab") as output:
            self._process = subprocess.Popen(
                [str(binary), *self._arguments(config)],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                cwd=self.directory,
                env={
                    "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
                    "HOME": str(self.directory),
                    "WEED_S3_SSE_KEK": secrets.token_hex(32),
                },
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _arguments(self, config: Path) -> list[str]:
        http, https, master, volume, filer = self._ports[:5]
        # Sockets have short names; a test's directory can be deep.
        grpc = self._ports[5:9]
        return [
            f"-logdir={self.directory / 'log'}",
            "-alsologtostderr=false",
            "server",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-dir={self.directory / 'data'}",
            f"-master.port={master}",
            f"-master.port.grpc={grpc[0]}",
            "-master.volumeSizeLimitMB=128",
            "-master.volumePreallocate=false",
            "-master.telemetry=false",
            "-master.electionTimeout=1s",
            "-master.heartbeatInterval=150ms",
            f"-volume.port={volume}",
            f"-volume.port.grpc={grpc[1]}",
            "-volume.max=400",
            "-volume.preStopSeconds=0",
            "-filer",
            f"-filer.port={filer}",
            f"-filer.port.grpc={grpc[2]}",
            "-filer.localSocket=filer.sock",
            "-s3",
            f"-s3.port={http}",
            f"-s3.port.grpc={grpc[3]}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.config={config}",
            "-s3.autoCreateBucket=false",
            "-s3.localSocket=s3.sock",
            f"-s3.port.https={https}",
            f"-s3.cert.file={self.ca_bundle}",
            f"-s3.key.file={self._key}",
        ]

    def _identities(self) -> dict[str, Any]:
        buckets = (BUCKET, LOCKED_BUCKET)
        return {
            "identities": [
                {
                    "name": "uploader",
                    "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
                    "actions": [f"{action}:{bucket}" for action in _ACTIONS for bucket in buckets],
                },
                {
                    "name": "admin",
                    "credentials": [{"accessKey": "AKADMIN", "secretKey": self._admin_secret}],
                    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                },
            ]
        }

    def _wait(self) -> None:
        until_s = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                self._make_buckets()
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
                process = self._process
                if process is None or process.poll() is not None or time.monotonic() > until_s:
                    raise RuntimeError(f"the S3 server did not start: {self.output()}") from error
                time.sleep(0.1)
            else:
                return

    def _make_buckets(self) -> None:
        admin = self.admin()
        there = {bucket["Name"] for bucket in admin.list_buckets().get("Buckets", [])}
        if BUCKET not in there:
            admin.create_bucket(Bucket=BUCKET)
        if LOCKED_BUCKET not in there:
            admin.create_bucket(Bucket=LOCKED_BUCKET, ObjectLockEnabledForBucket=True)
        self.client().put_object(Bucket=BUCKET, Key="canary", Body=b"canary")
        admin.delete_object(Bucket=BUCKET, Key="canary")

    def client(self) -> Any:
        """A plain client with the uploader's keys, to look at the store from aside."""
        return self._boto(self.access_key, self.secret_key)

    def admin(self) -> Any:
        """A plain client that may do everything."""
        return self._boto("AKADMIN", self._admin_secret)

    def _boto(self, access_key: str, secret_key: str) -> Any:
        if access_key not in self._clients:
            self._clients[access_key] = self._made(access_key, secret_key)
        return self._clients[access_key]

    def _made(self, access_key: str, secret_key: str) -> Any:
        return botocore.session.Session().create_client(
            "s3",
            endpoint_url=self.url,
            verify=str(self.ca_bundle),
            region_name="us-east-1",
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            config=Config(
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": 1},
                connect_timeout=5,
                read_timeout=20,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def uploads(self, bucket: str = BUCKET, prefix: str = "") -> list[str]:
        """Keys of unfinished uploads in parts."""
        page = self.admin().list_multipart_uploads(Bucket=bucket, Prefix=prefix)
        return [one["Key"] for one in page.get("Uploads") or []]

    def objects(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """Keys and bytes below a prefix."""
        client = self.client()
        pages = client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.bucket, Prefix=prefix):
            for found in page.get("Contents", []):
                body = client.get_object(Bucket=self.bucket, Key=found["Key"])["Body"]
                yield found["Key"], body.read()

    def table(self, directory: Path, prefix: str) -> str:
        """A `[[stores]]` table; its keys lie in that directory."""
        keys = self.write_keys_file(directory / "keys.ini")
        return (
            f'[[stores]]\nname = "cloud"\ntype = "s3"\nbucket = "{self.bucket}"\n'
            f'prefix = "{prefix}"\nendpoint_url = "{self.url}"\nregion = "us-east-1"\n'
            f'ca_bundle = "{self.ca_bundle}"\n'
            f'credentials = {{ source = "file", path = "{keys}", profile = "default" }}\n'
        )

    def write_keys_file(self, path: Path) -> Path:
        """The uploader's keys as a credentials file."""
        path.touch(mode=0o600)
        path.write_text(
            f"[default]\naws_access_key_id = {self.access_key}\n"
            f"aws_secret_access_key = {self.secret_key}\n",
            encoding="utf-8",
        )
        return path

    def config(self, url: str, **more: Any) -> S3StoreConfig:
        """A store's table for the bucket behind an address.

        Args:
            url: of the server, or of what stands before it.
            more: other settings.
        """
        table = {
            "name": "cloud",
            "type": "s3",
            "bucket": self.bucket,
            "endpoint_url": url,
            "ca_bundle": self.ca_bundle,
            "credentials": FileCredentials(source="file", path=self.keys_file),
        }
        return S3StoreConfig(**{**table, **more})

    def output(self) -> str:
        """The end of what the server printed."""
        return (self.directory / "weed.out").read_text(errors="replace")[-2000:]

    def stop(self) -> None:
        """Kill it; what it acknowledged is on disk."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        for port in self._ports[5:]:
            # It makes these whatever TMPDIR says, and is killed before it could remove them.
            for left in Path("/tmp").glob(f"seaweedfs-*-grpc-{port}.sock"):
                left.unlink(missing_ok=True)
