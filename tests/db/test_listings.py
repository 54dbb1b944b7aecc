"""Lists: what is chosen, in which order, how much of it, and how much there is."""

from __future__ import annotations

import pytest

from bodycam_ingest.db import listings, schema
from bodycam_ingest.db.listings import Choice
from bodycam_ingest.model import rows
from tests.support.facts import item_values as item
from tests.support.facts import tables
from tests.support.facts import upload_values as upload

STATES = ["verified", "released", "released", "quarantined", "verified", "purged"]


def at(hour):
    return f"2026-11-24T{hour:02d}:00:00.000Z"


CAMERAS = [rows.Camera(serial, False, "", None, at(0), at(0)) for serial in "AB"]
DOCKINGS = [
    rows.Docking(f"D{n}", "AB"[n], f"bay{n}", "", b"/", at(n), at(n + 1), complete=bool(n))
    for n in range(2)
]


@pytest.fixture
def conn():
    with tables(*CAMERAS, *DOCKINGS) as made:
        for n, state in enumerate(STATES):
            where = (f"I{n}", "AB"[n % 2], f"D{n % 2}", f"{9 - n}.MP4".encode())
            more = {"size_bytes": (n * 7) % 5, "state": state, "discovered_at": at(n)}
            made.execute(schema.item.insert().values(item(*where, **more)))
            store = "nas" if n < 4 else "cloud"
            sent = upload(f"I{n}", store, "confirmed" if n < 2 else "queued")
            made.execute(schema.upload.insert().values(sent))
        yield made


def ids(conn, choice, **more):
    return [row["item_id"] for row in listings.items(conn, choice, **more).rows]


@pytest.mark.parametrize(
    ("choice", "numbers"),
    [
        (Choice(), "012345"),
        (Choice(camera="B"), "135"),
        (Choice(state="released"), "12"),
        (Choice(docking="D0"), "024"),
        (Choice(bay="bay1"), "135"),
        (Choice(store="cloud"), "45"),
        (Choice(not_in="nas"), "2345"),
        (Choice(not_in="cloud"), "012345"),
        (Choice(since=at(2)), "2345"),
        (Choice(until=at(2)), "01"),
        (Choice(since=at(1), until=at(4), camera="B"), "13"),
        (Choice(camera="Z"), ""),
    ],
)
def test_items_are_chosen(conn, choice, numbers):
    assert ids(conn, choice) == [f"I{number}" for number in numbers]
    assert listings.items(conn, choice, limit=1).total == len(numbers)


def test_a_limit_keeps_the_newest_and_says_how_many_there_are(conn):
    listing = listings.items(conn, Choice(), limit=2)
    assert ([row["item_id"] for row in listing.rows], listing.total) == (["I4", "I5"], 6)


@pytest.mark.parametrize(
    ("order", "numbers"), [("size", "053142"), ("path", "543210"), ("camera", "024135")]
)
def test_items_are_sorted(conn, order, numbers):
    assert ids(conn, Choice(), order=order) == [f"I{number}" for number in numbers]
    assert ids(conn, Choice(), order=order, limit=3) == [f"I{number}" for number in numbers[3:]]


def test_many_items_are_listed_with_their_stores(conn):
    conn.execute(schema.upload.delete())
    conn.execute(schema.item.delete())
    for number in range(1203):
        values = item(f"I{number:05}", "A", "D0", b"x", state="verified", discovered_at=at(1))
        conn.execute(schema.item.insert().values(values))
    conn.execute(schema.upload.insert().values(upload("I01202", "nas", "queued")))
    listing = listings.items(conn, Choice())
    rows = list(listing.rows)
    assert (len(rows), listing.total, listing.shown) == (1203, 1203, 1203)
    assert rows[-1]["stores"]["nas"]["state"] == "queued"


def test_dockings_tell_what_came_of_them(conn):
    listing = listings.dockings(conn, Choice())
    told = [(row["docking_id"], row["items"], row["size_bytes"]) for row in listing.rows]
    assert told == [
        ("D0", {"released": 1, "verified": 2}, 7),
        ("D1", {"purged": 1, "quarantined": 1, "released": 1}, 3),
    ]
    for choice, wanted in (
        (Choice(incomplete=True), "D0"),
        (Choice(bay="bay1"), "D1"),
        (Choice(camera="A"), "D0"),
        (Choice(since=at(1)), "D1"),
        (Choice(until=at(1)), "D0"),
    ):
        assert [row["docking_id"] for row in listings.dockings(conn, choice).rows] == [wanted]
    assert listings.dockings(conn, Choice(), limit=1).total == 2


def test_findings_of_a_camera_are_those_of_its_dockings_and_recordings_too(conn):
    for number, about in enumerate(
        [
            {"subject": "camera:A"},
            {"subject": "x", "docking_id": "D0"},
            {"subject": "item:I2", "item_id": "I2"},
            {"subject": "camera:B"},
            {"subject": "store:nas"},
        ]
    ):
        conn.execute(
            schema.finding.insert().values(
                finding_id=f"F{number}",
                code="c",
                severity="alarm",
                detail="",
                opened_at=at(number),
                closed_at=at(9) if number == 3 else None,
                **about,
            )
        )

    def found(**choice):
        return "".join(f["finding_id"][1] for f in listings.findings(conn, Choice(**choice)))

    assert found() == "0124"
    assert found(closed=True) == "01234"
    assert found(camera="A") == "012"
    assert found(camera="B", closed=True) == "3"
    assert found(docking="D0") == "1"
    assert found(store="nas") == "4"
    assert found(since=at(2)) == "24"
    # One finding for a store, with how many recordings wait for it; of nothing else.
    assert [f["waiting"] for f in listings.findings(conn, Choice())] == [None, None, None, 2]


def test_how_much_there_is_to_verify(conn):
    assert listings.kept_bytes(conn, files=True, stores=False) == 0
    assert listings.kept_bytes(conn, files=False, stores=True) == 0 + 2
    conn.execute(schema.item.update().where(schema.item.c.item_id == "I2").values(staged_path="x"))
    assert listings.kept_bytes(conn, files=True, stores=True) == 4 + 2
