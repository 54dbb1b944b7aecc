"""Each fault of an S3 server or of the way to it, sorted as the table of docs says."""

from __future__ import annotations

import datetime as dt
import email.utils
import socket

import pytest

from bodycam_ingest.config import EnvironmentCredentials, FileCredentials, S3StoreConfig
from bodycam_ingest.errors import (
    StoreClockSkewError,
    StoreCredentialsError,
    StoreError,
    StoreFullError,
    StoreIntegrityError,
    StoreMisconfiguredError,
    StoreThrottledError,
    StoreUnreachableError,
)
from bodycam_ingest.stores.s3 import endpoint
from bodycam_ingest.stores.s3.errors import retry_after_s, skew
from tests.support.faultproxy import Fault
from tests.support.seaweedfs import write_certificate
from tests.support.sending import PART_BYTES, Bytes, Journal, Sent, clip, sent

ANSWERS = [
    (500, "InternalError", StoreUnreachableError),
    (502, "", StoreUnreachableError),
    (503, "SlowDown", StoreThrottledError),
    (503, "ServiceUnavailable", StoreUnreachableError),
    (503, "", StoreThrottledError),
    (504, "", StoreUnreachableError),
    (400, "RequestTimeout", StoreUnreachableError),
    (429, "TooManyRequests", StoreThrottledError),
    (403, "RequestTimeTooSkewed", StoreClockSkewError),
    (400, "ExpiredToken", StoreCredentialsError),
    (403, "InvalidAccessKeyId", StoreCredentialsError),
    (403, "SignatureDoesNotMatch", StoreCredentialsError),
    (404, "NoSuchBucket", StoreMisconfiguredError),
    (403, "AccessDenied", StoreMisconfiguredError),
    (301, "PermanentRedirect", StoreMisconfiguredError),
    (307, "TemporaryRedirect", StoreMisconfiguredError),
    (411, "MissingContentLength", StoreMisconfiguredError),
    (501, "NotImplemented", StoreMisconfiguredError),
    (400, "KMS.NotFoundException", StoreMisconfiguredError),
    (400, "BadDigest", StoreIntegrityError),
    (400, "XAmzContentSHA256Mismatch", StoreIntegrityError),
    (400, "IncompleteBody", StoreIntegrityError),
    (507, "", StoreFullError),
    (403, "QuotaExceeded", StoreFullError),
    (418, "Teapot", StoreError),
]


@pytest.mark.parametrize(("status", "code", "kind"), ANSWERS)
def test_each_answer_has_its_class(open_s3, proxy, status, code, kind):
    store = open_s3()
    proxy.add(Fault("status", match="^PUT ", status=status, code=code, times=-1))
    data, obj = clip(100)
    with pytest.raises(StoreError) as caught:
        store.send(obj, Bytes(data), Journal())
    assert type(caught.value) is kind
    proxy.clear()
    store.confirm(obj, store.send(obj, Bytes(data), Journal()))


@pytest.mark.parametrize("code", ["InternalError", "SlowDown", "BadDigest", "Teapot", ""])
def test_an_answer_that_was_wrong_after_the_deed_is_resolved_by_looking(open_s3, proxy, code):
    store = open_s3()
    for size in (100, PART_BYTES + 1):
        (data, obj), journal = clip(size), Journal()
        making = r"^(PUT \S*clip\.mp4 |POST \S*uploadId)"
        fault = proxy.add(Fault("status_after", match=making, status=500, code=code))
        with pytest.raises(StoreError):
            store.send(obj, Bytes(data), journal)
        assert fault.hits == 1
        sent = Sent()
        store.confirm(obj, store.send(obj, Bytes(data), journal, sent))
        assert sent.size_bytes == 0, "it was there already"


def test_what_a_store_asks_to_wait_is_told(open_s3, proxy):
    store = open_s3()
    proxy.add(Fault("status", headers={"Retry-After": "17"}))
    with pytest.raises(StoreThrottledError) as caught:
        store.look("evidence/x")
    assert caught.value.retry_after_s == 17


@pytest.mark.parametrize(
    ("off", "kind"),
    [
        (dt.timedelta(hours=1), StoreClockSkewError),
        (dt.timedelta(minutes=-20), StoreClockSkewError),
        (dt.timedelta(), StoreMisconfiguredError),
    ],
)
def test_a_bare_403_is_a_wrong_clock_or_at_the_right_time_a_missing_right(
    open_s3, proxy, off, kind
):
    store = open_s3()
    date = email.utils.format_datetime(dt.datetime.now(tz=dt.UTC) + off, usegmt=True)
    proxy.add(Fault("status", status=403, code="", headers={"Date": date}, times=-1))
    with pytest.raises(kind):
        store.look("evidence/x")


def test_a_head_without_a_code_is_asked_again_in_a_way_that_has_one(open_s3, proxy):
    store = open_s3()
    proxy.add(Fault("status", match="^HEAD ", status=400, code="", times=-1))
    proxy.add(Fault("status", match="^GET ", status=400, code="ExpiredToken", times=-1))
    with pytest.raises(StoreCredentialsError):
        store.look("evidence/x")


def keys_file(path, access_key, secret_key):
    text = f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = {secret_key}\n"
    path.write_text(text, encoding="utf-8")
    return FileCredentials(source="file", path=path)


def test_wrong_keys_are_a_matter_of_credentials(open_s3, seaweed, tmp_path):
    for keys in (("AKNOBODY", "x"), (seaweed.access_key, "wrong")):
        store = open_s3(credentials=keys_file(tmp_path / "keys", *keys))
        with pytest.raises(StoreCredentialsError):
            store.look("evidence/x")


def test_keys_renewed_on_disk_are_taken_without_a_restart(open_s3, seaweed, tmp_path):
    store = open_s3(credentials=keys_file(tmp_path / "keys", seaweed.access_key, "expired"))
    with pytest.raises(StoreCredentialsError):
        store.look("evidence/x")
    keys_file(tmp_path / "keys", seaweed.access_key, seaweed.secret_key)
    assert store.look("evidence/x") is None


def test_a_missing_bucket_or_right_is_a_matter_of_configuration(open_s3):
    store = open_s3(bucket="no-such-bucket")
    with pytest.raises(StoreMisconfiguredError):
        list(store.keys(""))


def test_a_certificate_of_another_is_not_taken(open_s3, tmp_path):
    other, _ = write_certificate(tmp_path)
    with pytest.raises(StoreMisconfiguredError) as caught:
        open_s3(ca_bundle=other).look("evidence/x")
    assert "certificate" in caught.value.hint
    with pytest.raises(StoreMisconfiguredError):
        open_s3(ca_bundle=tmp_path / "missing.pem").look("evidence/x")
    (tmp_path / "empty.pem").touch()
    with pytest.raises(StoreMisconfiguredError):
        open_s3(ca_bundle=tmp_path / "empty.pem").look("evidence/x")


def test_nobody_there_is_transient(open_s3, proxy):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(StoreUnreachableError):
        open_s3(url=f"https://127.0.0.1:{port}").look("evidence/x")
    with pytest.raises(StoreUnreachableError):
        open_s3(url="https://store.invalid").look("evidence/x")
    proxy.down = True
    with pytest.raises(StoreUnreachableError):
        open_s3().look("evidence/x")


@pytest.mark.parametrize("kind", ["drop", "reset", "blackhole", "refuse", "lost_answer"])
def test_a_line_that_breaks_under_a_part_is_transient(open_s3, proxy, monkeypatch, kind):
    monkeypatch.setattr(endpoint, "READ_TIMEOUT_S", 1)
    monkeypatch.setattr(endpoint, "CONNECT_TIMEOUT_S", 1)
    store = open_s3()
    (data, obj), journal = clip(PART_BYTES + 1), Journal()
    fault = proxy.add(Fault(kind, match=r"^PUT \S*partNumber=1", after=PART_BYTES // 2))
    with pytest.raises(StoreUnreachableError):
        store.send(obj, Bytes(data), journal)
    assert fault.hits == 1
    monkeypatch.setattr(endpoint, "READ_TIMEOUT_S", 60)
    store = open_s3(prefix=store._prefix.rstrip("/"))
    store.confirm(obj, store.send(obj, Bytes(data), journal))


def test_an_answer_cut_in_the_middle_is_transient(open_s3, proxy):
    store = open_s3()
    _, obj, _ = sent(store, 100_000)
    proxy.add(Fault("cut_answer", match="^GET .*clip", after=50_000))
    with pytest.raises(StoreUnreachableError):
        b"".join(store.read(obj.key))
    proxy.add(Fault("cut_answer", match="^GET .*list-type", after=20))
    with pytest.raises(StoreUnreachableError):
        list(store.keys(""))


def test_an_error_inside_a_200_is_transient(open_s3, proxy):
    store = open_s3()
    (data, obj), journal = clip(PART_BYTES + 1), Journal()
    proxy.add(Fault("status", match="^POST .*uploadId", status=200, code="InternalError"))
    with pytest.raises(StoreUnreachableError):
        store.send(obj, Bytes(data), journal)
    store.confirm(obj, store.send(obj, Bytes(data), journal))


@pytest.mark.parametrize("code", ["NoSuchUpload", "NoSuchKey"])
def test_an_upload_that_expired_begins_again(open_s3, seaweed, proxy, code):
    store = open_s3()
    (data, obj), journal = clip(PART_BYTES + 1), Journal()
    proxy.add(Fault("refuse", match=r"^PUT \S*partNumber=2"))
    with pytest.raises(StoreUnreachableError):
        store.send(obj, Bytes(data), journal)
    assert journal.upload_id
    proxy.add(Fault("status", match=r"^GET \S*uploadId", status=404, code=code))
    store.confirm(obj, store.send(obj, Bytes(data), journal))
    assert seaweed.uploads(prefix=store._prefix) == []


def keys_of(credentials):
    config = S3StoreConfig(name="a", type="s3", bucket="evidence", credentials=credentials)
    return endpoint.credentials_of(config)


def test_keys_come_from_the_variables_that_are_named(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", "2020-01-01T00:00:00Z")
    names = {"access_key_variable": "A", "secret_key_variable": "B", "session_token_variable": "C"}
    named = EnvironmentCredentials(source="environment", **names)
    for missing, name in (("A", "B"), ("B", "A")):
        monkeypatch.setenv(name, "id")
        monkeypatch.delenv(missing, raising=False)
        with pytest.raises(StoreCredentialsError, match="environment: A, B"):
            keys_of(named)
    monkeypatch.setenv("B", "secret")
    found = keys_of(named)
    assert (found.access_key, found.secret_key, found.token) == ("id", "secret", None)
    monkeypatch.setenv("C", "token")
    assert keys_of(named).token == "token"


@pytest.mark.parametrize(
    "text",
    [
        None,
        "[default]\naws_access_key_id = id\nsesame\n",
        "[default]\naws_access_key_id = id\nsesame = 1",
        "aws_secret_access_key = sesame",
        "[other]\naws_access_key_id = i\naws_secret_access_key = sesame\n",
        "\xff sesame",
    ],
)
def test_no_text_of_a_file_without_keys_is_told(tmp_path, text):
    path = tmp_path / "keys"
    if text is not None:
        path.write_text(text, encoding="latin-1")
    with pytest.raises(StoreCredentialsError, match="keys") as caught:
        keys_of(FileCredentials(source="file", path=path))
    told = f"{caught.value!r} {caught.value.__cause__!r}"
    assert "sesame" not in told


def test_keys_come_from_the_section_that_is_named_and_are_not_shown(tmp_path):
    path = tmp_path / "keys"
    path.write_text("[x]\naws_access_key_id = i\naws_secret_access_key = s%\n", encoding="utf-8")
    found = keys_of(FileCredentials(source="file", path=path, profile="x"))
    assert (found.access_key, found.secret_key) == ("i", "s%")
    assert "s%" not in repr(found)


def test_headers_that_make_no_sense_mean_nothing():
    now = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    assert skew({}, now) is None
    assert skew({"date": "yesterday"}, now) is None
    assert skew({"date": "Fri, 02 Jan 2026 00:00:00 -0000"}, now) == dt.timedelta(0)
    assert retry_after_s({"retry-after": "Fri, 02 Jan 2026 00:00:00 GMT"}) is None
