"""What reading and proving an item settles is closed with it, and nothing else."""

from __future__ import annotations

from bodycam_ingest.acquire.records import record_acquired
from bodycam_ingest.db import findings, items
from bodycam_ingest.model import subjects
from bodycam_ingest.model.evidence import Acquired
from tests.support import facts
from tests.support.dockbench import DOCKING, DOCKING_ID, Bench, digests_of

IDS = ["01J00000000000000000000AAA", "01J00000000000000000000BBB"]


def discovered(bench: Bench, item_id: str, codes: list[str]) -> items.ItemRow:
    with bench.ledger.transaction() as txn:
        facts.discover(txn, item_id, DOCKING, item_id.encode())
        for code in codes:
            findings.alarm(txn, subjects.item(item_id), code, "test")
        return items.get(txn.conn, item_id)


def test_reading_an_item_closes_its_own_findings_about_reading(bench):
    settled = ["source_changed", "source_unreadable", "source_forbidden", "staging_missing"]
    row = discovered(bench, IDS[0], [*settled, "local_copy_damaged", "purge_held"])
    discovered(bench, IDS[1], ["source_changed"])
    digests = digests_of(b"abc", 1024)
    got = Acquired(row.item_id, digests, f"{DOCKING_ID}/{row.item_id}-{digests.sha256.hex()}")

    with bench.ledger.transaction() as txn:
        record_acquired(txn, [(row, got)], recovered=False)

    assert sorted(bench.open_alarms()) == [
        ("purge_held", f"item:{IDS[0]}"),
        ("source_changed", f"item:{IDS[1]}"),
    ]
