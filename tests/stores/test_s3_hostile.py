"""An S3 server that answers anything, an environment that points elsewhere, a slow line."""

from __future__ import annotations

import contextlib
import datetime as dt
import gc
import socket
import struct
import threading
import time

import botocore.exceptions
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bodycam_ingest.config import EnvironmentCredentials, S3StoreConfig
from bodycam_ingest.errors import StoreError, StoreMisconfiguredError, StoreUnreachableError
from bodycam_ingest.model.evidence import ProofKind, StoredObject, StoreProbe
from bodycam_ingest.stores.s3 import endpoint as s3_endpoint
from bodycam_ingest.stores.s3.client import S3Client
from bodycam_ingest.stores.s3.errors import refusal, retry_after_s, skew
from bodycam_ingest.stores.s3.store import S3Store
from tests.support.faultproxy import Fault
from tests.support.seaweedfs import LOCKED_BUCKET, write_certificate
from tests.support.sending import PART_BYTES, Bytes, Journal, object_of, sent, some_bytes

NOW = dt.datetime(2026, 3, 14, tzinfo=dt.UTC)


class AnyAnswer:
    """A server that gives every request the same bytes and closes."""

    def __init__(self) -> None:
        self.answer = b""
        self.ending = "close"
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(5)
                head = b""
                while b"\r\n\r\n" not in head and (more := connection.recv(65536)):
                    head += more
                self.requests.append(head)
                connection.sendall(self.answer)
                if self.ending == "reset":
                    # What was sent gets there first.
                    time.sleep(0.2)
                    now = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
                    continue
                if self.ending == "stall":
                    connection.recv(65536)
                    continue
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(0.02)
                while connection.recv(65536):
                    pass

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


@pytest.fixture
def any_answer():
    server = AnyAnswer()
    yield server
    server.close()


@pytest.fixture
def store_at():
    with contextlib.ExitStack() as opened:

        def make(url: str, *, allow_http: bool = True) -> S3Store:
            config = S3StoreConfig.model_construct(
                name="cloud",
                bucket="evidence",
                prefix="p",
                endpoint_url=url,
                credentials=EnvironmentCredentials(
                    source="environment", access_key_variable="HOME", secret_key_variable="HOME"
                ),
                allow_http=allow_http,
            )
            return opened.enter_context(contextlib.closing(S3Store(S3Client(config))))

        yield make


HEADERS = st.dictionaries(
    st.sampled_from(
        ["date", "retry-after", "content-length", "last-modified", "etag", "x-amz-version-id"]
    ),
    st.one_of(
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
        st.sampled_from(
            [
                "Sat, 14 Mar 2026 09:26:53 +99999999999999999999",
                "Sat, 14 Mar 99999 09:26:53 GMT",
                "Mon, 01 Jan 0001 00:00:00 +2359",
                "-1",
                "9" * 400,
            ]
        ),
    ),
    max_size=4,
)
BODIES = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(
        [
            b"<a>" * 1000,
            b"<ListPartsResult><Part><PartNumber>x</PartNumber></Part></ListPartsResult>",
            b"<ListPartsResult><Part><Size>1</Size></Part></ListPartsResult>",
            b"<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
            b"<ListBucketResult><Contents><LastModified/></Contents></ListBucketResult>",
            b"<ListMultipartUploadsResult><Upload/></ListMultipartUploadsResult>",
            b"<InitiateMultipartUploadResult/>",
            b"<Error><Code>" + b"x" * 1000 + b"</Code></Error>",
            b"[" * 1000,
        ]
    ),
)


def well_formed(status: int, headers: dict[str, str], body: bytes) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} x\r\n{lines}\r\n".encode("latin-1") + body


ANSWERS = st.one_of(
    st.binary(max_size=300),
    st.builds(
        well_formed,
        st.sampled_from([200, 204, 301, 307, 400, 403, 404, 412, 500, 503]),
        HEADERS,
        BODIES,
    ),
)
CHUNKED = b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n99999999999999999999\r\nx\r\n"


@pytest.fixture
def any_store(any_answer, store_at):
    # One for all examples: a client takes longer to build than to ask.
    store = store_at(any_answer.url)
    yield store
    store.close()
    # Here, where the warning is expected, and not in whatever test comes next.
    gc.collect()


# urllib3 leaves connections whose answers have no readable length to the collector.
@pytest.mark.long
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(answer=ANSWERS)
@example(answer=b"")
@example(answer=CHUNKED)
@example(answer=well_formed(403, {"date": "Sat, 14 Mar 2026 09:26:53 +99999999999999999999"}, b""))
@example(answer=well_formed(200, {"content-length": "x"}, b"<a>" * 1000))
@example(answer=well_formed(200, {"last-modified": "9" * 400}, b""))
# A HEAD that says no more than its status, and a GET that breaks off when it is asked for more.
@example(answer=well_formed(400, {"content-length": "5"}, b"<"))
def test_whatever_a_server_answers_is_a_fault_of_the_store(any_answer, any_store, answer):
    any_answer.answer = answer
    store = any_store
    small, large = object_of(b"x"), object_of(some_bytes(PART_BYTES + 1))
    asked = (
        lambda: store.send(small, Bytes(b"x"), Journal()),
        lambda: store.send(large, Bytes(some_bytes(PART_BYTES + 1)), Journal()),
        lambda: store.confirm(small, StoredObject(small.key)),
        lambda: store.look(small.key),
        lambda: list(store.read(small.key)),
        lambda: next(iter(store.keys("")), None),
        store.identity,
        store.probe,
    )
    for ask in asked:
        with contextlib.suppress(StoreError):
            ask()


@pytest.mark.parametrize("status", [200, 400, 500])
def test_an_answer_without_an_end_is_given_up(any_answer, store_at, status, monkeypatch):
    monkeypatch.setattr(s3_endpoint, "_ANSWER_BYTES_MAX", 100_000)
    any_answer.answer = well_formed(status, {}, b"<ListBucketResult>" + b"<a/>" * 1_000_000)
    store = store_at(any_answer.url)
    for ask in (lambda: list(store.keys("")), lambda: list(store.read("key")), store.identity):
        before = len(any_answer.requests)
        with contextlib.suppress(StoreError):
            # What is read piece by piece has its reader's bound.
            assert len(ask()) > 1
            assert status == 200
        assert len(any_answer.requests) > before
    with pytest.raises(StoreError, match="longer than 100000 bytes"):
        list(store.keys(""))


@pytest.mark.parametrize("ending", ["reset", "stall"])
@pytest.mark.parametrize("length", ["content-length", "transfer-encoding"])
def test_a_line_that_breaks_under_an_answer_is_the_lines_fault(
    any_answer, store_at, ending, length, monkeypatch
):
    monkeypatch.setattr(s3_endpoint, "READ_TIMEOUT_S", 1)
    any_answer.ending = ending
    value = "5000" if length == "content-length" else "chunked"
    any_answer.answer = well_formed(200, {length: value}, b"100\r\n<ListBucketResult>")
    store = store_at(any_answer.url)
    with pytest.raises(StoreUnreachableError):
        list(store.keys(""))


@pytest.mark.parametrize("contents", [b"", b"<Contents><Key>p/k</Key></Contents>"])
def test_a_listing_without_an_end_is_given_up(any_answer, store_at, contents):
    page = b"<IsTruncated>true</IsTruncated><NextContinuationToken>again</NextContinuationToken>"
    body = b"<ListBucketResult>" + contents + page + b"</ListBucketResult>"
    any_answer.answer = well_formed(200, {"content-type": "application/xml"}, body)
    store = store_at(any_answer.url)
    with pytest.raises(StoreError, match="does not end"):
        list(store.keys(""))
    assert len(any_answer.requests) == 2


@given(headers=HEADERS, status=st.integers(100, 599), code=st.text(max_size=30))
@example(headers={"date": "Sat, 14 Mar 2026 09:26:53 +99999999999999999999"}, status=403, code="")
def test_whatever_a_refusal_says_has_its_class(headers, status, code):
    response = {
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers},
        "Error": {"Code": code, "Message": "m" * 5000},
    }
    fault = refusal(botocore.exceptions.ClientError(response, "PutObject"), "doing", NOW)
    assert isinstance(fault, StoreError)
    assert len(fault.message) < 2000
    skew(headers, NOW)
    assert (retry_after_s(headers) or 0) < 1e13


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "file"])
def test_neither_environment_nor_set_up_sends_evidence_elsewhere(
    any_answer, store_at, monkeypatch, tmp_path, variable
):
    if variable == "file":
        config = tmp_path / "config"
        config.write_text(
            f"[default]\nendpoint_url = {any_answer.url}\n"
            f"services = mine\n[services mine]\ns3 =\n  endpoint_url = {any_answer.url}\n"
        )
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    else:
        monkeypatch.setenv(variable, any_answer.url)
    monkeypatch.setattr(s3_endpoint, "CONNECT_TIMEOUT_S", 1)
    with pytest.raises(StoreError):
        store_at("", allow_http=False).look("evidence/x")
    assert any_answer.requests == []


def test_no_request_leaves_unencrypted_whatever_chose_its_address(any_answer, store_at):
    store = store_at(any_answer.url, allow_http=False)
    for ask in (lambda: store.look("evidence/x"), store.identity, store.probe):
        with pytest.raises(StoreMisconfiguredError, match="not encrypted"):
            ask()
    assert any_answer.requests == []


def test_without_a_bundle_of_its_own_a_store_is_trusted_as_the_system_says(
    seaweed, open_s3, monkeypatch, tmp_path
):
    monkeypatch.setenv("SSL_CERT_FILE", str(seaweed.ca_bundle))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(seaweed.ca_bundle))
    with pytest.raises(StoreMisconfiguredError, match="certificate"):
        open_s3(ca_bundle=None).look("evidence/x")
    monkeypatch.setattr(
        s3_endpoint, "SYSTEM_BUNDLES", (str(tmp_path / "missing"), str(seaweed.ca_bundle))
    )
    open_s3(ca_bundle=None).look("evidence/x")


def test_a_certificate_that_was_mended_is_seen_without_a_restart(seaweed, proxy, open_s3, tmp_path):
    bundle = tmp_path / "ca.pem"
    other = tmp_path / "other"
    other.mkdir()
    bundle.write_bytes(write_certificate(other)[0].read_bytes())
    store = open_s3(ca_bundle=bundle)
    with pytest.raises(StoreMisconfiguredError, match=f"bucket {seaweed.bucket} at {proxy.url}"):
        store.look("evidence/x")
    bundle.write_bytes(seaweed.ca_bundle.read_bytes())
    assert store.look("evidence/x") is None


def test_every_byte_that_is_sent_or_read_back_is_seen_to_move(seaweed, proxy):
    beats: list[int] = []
    config = seaweed.config(proxy.url, prefix="beats")
    store = S3Store(S3Client(config, heartbeat=lambda: beats.append(1)))
    # As a store that verifies nothing.
    store._probe = StoreProbe(
        verifies_checksum=False, verifies_payload=False, returns_checksum=False, reads_back=True
    )
    try:
        data, obj, stored = sent(store, 2 * PART_BYTES)
        assert len(beats) >= 2 * PART_BYTES / (256 * 1024)
        paces: list[int] = []
        proof = store.confirm(obj, stored, paces.append)
    finally:
        store.close()
    assert proof.proof is ProofKind.READ_BACK
    assert sum(paces) == len(data)
    assert max(paces) <= 64 * 1024
    assert not any("expect" in seen.headers for seen in proxy.requests)


def test_a_store_that_delivers_nothing_is_given_up(open_s3, proxy, monkeypatch):
    monkeypatch.setattr(s3_endpoint, "READ_TIMEOUT_S", 1)
    store = open_s3()
    begun_s = time.monotonic()
    data = some_bytes(PART_BYTES)
    proxy.add(Fault("blackhole", match=r"^PUT ", times=-1))
    with pytest.raises(StoreUnreachableError):
        store.send(object_of(data), Bytes(data), Journal())
    assert time.monotonic() - begun_s < 60


def test_a_lock_that_the_bucket_does_not_have_is_found_by_the_probe(open_s3):
    with pytest.raises(StoreMisconfiguredError, match="ObjectLockMode"):
        open_s3(object_lock_days=1).probe()
    locked = open_s3(object_lock_days=1, bucket=LOCKED_BUCKET)
    assert locked.probe()
    assert list(locked.keys("")) == []
