"""Ids by their beginning, digests, names: one thing, or a fault that helps."""

from __future__ import annotations

import pytest

from bodycam_ingest.db import lookup, schema
from bodycam_ingest.errors import UnknownSubjectError, UsageError
from bodycam_ingest.model import rows
from tests.support.facts import item_values, tables

AT = "2026-11-24T19:12:04.000Z"
DOCKING = "01M878AAAAAAAAAAAAAAAAAAAA"
IDS = {
    "01M878BJ0A7MVAYHBJVAKW59A6": b"\x08\xba" + bytes(30),
    "01M878BJ0A7MVAYHBJVAKW59B0": b"\x08\xbb" + bytes(30),
    "01M899ZZZZZZZZZZZZZZZZZZZZ": b"\x01\x23" + bytes(30),
    "0123BCDEFGHJKMNPQRSTVWXYZ0": None,
}
FIRST, SECOND, THIRD, DIGITS = IDS


@pytest.fixture
def conn():
    cameras = [
        rows.Camera(one, False, "", None, AT, AT) for one in ("X60A1001", "x60a1001", "CAM7")
    ]
    with tables(*cameras, rows.Docking(DOCKING, "CAM7", "usb:1-2", "", b"/m", AT)) as made:
        for item_id, digest in IDS.items():
            where = (item_id, "CAM7", DOCKING, item_id.encode())
            values = item_values(*where, state="verified", discovered_at=AT, sha256=digest)
            made.execute(schema.item.insert().values(values))
        yield made


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (FIRST, FIRST),
        (FIRST.lower(), FIRST),
        ("01m878bj0a7mvayhbjvakw59a", FIRST),
        (" 01M899 ", THIRD),
        ("OIM899", THIRD),
        ("08ba", FIRST),
        ("08BB0000", SECOND),
        ("08bb" + "00" * 30, SECOND),
        ("0123b", DIGITS),
    ],
)
def test_a_beginning_in_any_case_names_one_item(conn, text, found):
    assert lookup.item_id(conn, text) == found


@pytest.mark.parametrize("text", ["01M878", "0", "0123"])
def test_what_names_several_says_which(conn, text):
    with pytest.raises(UsageError) as caught:
        lookup.item_id(conn, text)
    assert caught.value.exit_code == 2
    named = [item_id for item_id in IDS if item_id in caught.value.message]
    assert len(named) > 1
    if text == "0123":
        assert set(named) == {THIRD, DIGITS}


@pytest.mark.parametrize("text", ["", "%", "_", "01M8%", "zz", "08b", "'; --", "ü", FIRST + "0"])
def test_what_names_nothing(conn, text):
    with pytest.raises(UnknownSubjectError):
        lookup.item_id(conn, text)


def test_dockings_and_findings_by_their_beginning(conn):
    assert lookup.docking_id(conn, "01m878a") == DOCKING
    with pytest.raises(UnknownSubjectError):
        lookup.finding_id(conn, "01")
    conn.execute(
        schema.finding.insert().values(
            finding_id=FIRST, code="x", severity="alarm", subject="daemon", detail="", opened_at=AT
        )
    )
    assert lookup.finding_id(conn, "01m8") == FIRST


def test_names_in_any_case_where_that_leaves_one(conn):
    assert lookup.camera_serial(conn, "cam7") == "CAM7"
    assert lookup.camera_serial(conn, "x60a1001") == "x60a1001"
    with pytest.raises(UnknownSubjectError, match="X60a1001") as caught:
        lookup.camera_serial(conn, "X60a1001")
    assert "X60A1001 or x60a1001" in caught.value.hint
    with pytest.raises(UnknownSubjectError) as caught:
        lookup.bay(conn, "usb:1-3")
    assert "usb:1-2" in caught.value.hint


def test_a_store_that_is_configured_and_was_never_used(conn):
    assert lookup.store(conn, "nas", ["nas"]) == "nas"
    with pytest.raises(UnknownSubjectError) as caught:
        lookup.store(conn, "naas", ["nas"])
    assert "nas" in caught.value.hint
