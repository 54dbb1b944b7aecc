"""docs/ledger-format.md against the code: its test vectors, and what must not be taken for good."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from bodycam_ingest.custody import checkpoint, note
from bodycam_ingest.custody.checkpoint import Checkpoint
from bodycam_ingest.custody.commitment import commitment
from bodycam_ingest.custody.entry import (
    Actor,
    Moment,
    Position,
    admit,
    build_entry,
    parse_entry,
)
from bodycam_ingest.custody.merkle import (
    inclusion_proof,
    leaf_hash,
    peaks_of,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from bodycam_ingest.custody.note import NoteError, Signer, VerifierKey
from bodycam_ingest.errors import LedgerEntryError
from bodycam_ingest.model.lifecycle import ItemEvent

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/ledger-format.md").read_text(encoding="utf-8")
VECTORS = json.loads(re.findall(r"(?ms)^```json\n(.*?)^```$", DOCUMENT)[-1])
KEY = VECTORS["key"]
ENTRIES = [one["body"].encode() for one in VECTORS["entries"]]
LEAVES = [leaf_hash(body) for body in ENTRIES]
SIGNER = Signer(KEY["name"], Ed25519PrivateKey.from_private_bytes(bytes.fromhex(KEY["seed"])))
ORIGIN = KEY["name"]


def rebuilt(body):
    parsed = parse_entry(body)
    return build_entry(parsed.position, parsed.moment, parsed.type, parsed.actor, dict(parsed.data))


# -- vectors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seq", range(len(ENTRIES)))
def test_entries(seq):
    assert rebuilt(ENTRIES[seq]) == ENTRIES[seq]
    assert parse_entry(ENTRIES[seq]).canonical
    assert LEAVES[seq].hex() == VECTORS["entries"][seq]["leaf"]
    assert peaks_of(LEAVES[: seq + 1]).root().hex() == VECTORS["entries"][seq]["root"]
    position = parse_entry(ENTRIES[seq]).position
    assert (position.seq, position.log) == (seq, ORIGIN)
    assert position.prev == (LEAVES[seq - 1] if seq else bytes(32))


def test_the_entries_of_one_item_are_numbered():
    positions = [parse_entry(body).position for body in ENTRIES]
    item = positions[1].subject
    found = [(p.seq, p.ordinal, p.subject_prev) for p in positions if p.subject == item]
    assert found == [(1, 0, None), (3, 1, 1), (4, 2, 3)]


def test_the_trees_of_the_reference_code():
    leaves = [leaf_hash(bytes.fromhex(one)) for one in VECTORS["rfc6962"]["leaves"]]
    for size, root in enumerate(VECTORS["rfc6962"]["roots"]):
        assert peaks_of(leaves[:size]).root().hex() == root
        assert root_of(leaves[:size]).hex() == root


@pytest.mark.parametrize("size", [255, 256, 257, 1000])
def test_larger_trees(size):
    leaves = [leaf_hash(str(number).encode()) for number in range(size)]
    assert peaks_of(leaves).root().hex() == VECTORS["numbers"]["roots"][str(size)]


def test_proofs():
    leaves = [leaf_hash(str(number).encode()) for number in range(7)]
    there = VECTORS["numbers"]["inclusion"]
    proof = [bytes.fromhex(one) for one in there["proof"]]
    found = inclusion_proof(there["index"], there["size"], lambda a, b: root_of(leaves[a:b]))
    assert list(found) == proof
    assert verify_inclusion(leaves[3], 3, 7, proof, root_of(leaves))
    grown = VECTORS["numbers"]["consistency"]
    proof = [bytes.fromhex(one) for one in grown["proof"]]
    assert verify_consistency(3, root_of(leaves[:3]), 7, root_of(leaves), proof)


def test_key_and_checkpoint():
    verifier = SIGNER.verifier()
    assert verifier.public.hex() == KEY["public"]
    assert verifier.key_id().hex() == KEY["key_id"]
    assert verifier.vkey() == KEY["vkey"]
    assert VerifierKey.parse(KEY["vkey"]) == verifier
    whole = Checkpoint(ORIGIN, len(ENTRIES), peaks_of(LEAVES).root())
    assert checkpoint.sign(whole, [SIGNER]) == VECTORS["checkpoint"]
    assert checkpoint.verified(VECTORS["checkpoint"], verifier, ORIGIN) == whole


def test_a_sealed_value():
    vector = VECTORS["sealed"]
    found = commitment(vector["field"], bytes.fromhex(vector["salt"]), vector["value"])
    assert found == vector["commitment"]
    assert parse_entry(ENTRIES[1]).data["sealed"] == {"officer": found}
    assert vector["value"].encode() not in b"".join(ENTRIES)


def test_a_salt_is_thirty_two_bytes():
    with pytest.raises(ValueError, match="32"):
        commitment("officer", b"", "x")


# -- what the document lists ---------------------------------------------------------------------


def listed_types():
    section = DOCUMENT.split("\n## Entry types\n")[1].split("\n## ")[0]
    return set(re.findall(r"(?m)^\| `([a-z]+\.[a-z_]+)` \|", section))


def test_every_item_event_is_listed():
    assert {event.value for event in ItemEvent} - listed_types() == set()


def test_every_type_that_the_code_appends_is_listed():
    found = set()
    for path in (ROOT / "bodycam_ingest").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(r"(?:\.append|Draft)\(\s*\"([a-z]+(?:\.[a-z_]+)+)\"", text))
    assert "daemon.started" in found
    assert found - listed_types() == set()
    assert listed_types() - found - {event.value for event in ItemEvent} == set()


PROJECTION = ROOT / "bodycam_ingest/custody/projection"


def test_every_finding_of_verify_is_listed():
    section = DOCUMENT.split("\n## Findings of `verify`\n")[1].split("\n## ")[0]
    listed = re.findall(r"(?m)^\| `([a-z_]+)` \|", section)
    files = [
        "custody/log_check.py",
        "audit/verify.py",
        "audit/files.py",
        "audit/stores.py",
    ]
    code = "".join((ROOT / "bodycam_ingest" / file).read_text(encoding="utf-8") for file in files)
    code += "".join(path.read_text(encoding="utf-8") for path in PROJECTION.glob("*.py"))
    found = set(re.findall(r"(?:Finding|find|Fault)\(\s*\"([a-z_]+)\"", code))
    found |= {"object_missing", "object_altered", "document_planted"}
    found |= {"row_differs", "row_missing", "row_planted"}
    assert listed == sorted(found)


# -- entries that are none -----------------------------------------------------------------------

PLACE = Position(ORIGIN, 0, bytes(32), "log", 0, None)
MOMENT = Moment("2026-03-14T09:26:53.589Z", "boot", 1)


def build(data, kind="log.genesis"):
    return build_entry(PLACE, MOMENT, kind, Actor("system", "x"), admit(kind, data))


@pytest.mark.parametrize(
    "data",
    [
        {"x": 0.5},
        {"x": 1.0},
        {"x": float("nan")},
        {"x": 2**53},
        {"x": -(2**53)},
        {"x": [[{"y": 2**60}]]},
        {"ä": 1},
        {1: 1},
        {"x": b"bytes"},
        {"x": {1, 2}},
        {"x": "a" * 65_536},
    ],
)
def test_data_that_has_no_place_in_an_entry_is_refused(data):
    with pytest.raises(LedgerEntryError):
        build(data)


@pytest.mark.parametrize(
    "kind", ["", "log", "Log.genesis", "log.", ".x", "log.gen esis", "log.x\n"]
)
def test_no_entry_type(kind):
    with pytest.raises(LedgerEntryError):
        build({}, kind)


def test_the_longest_entry_is_taken_and_one_byte_more_is_not():
    room = 65_535 - len(build({"x": ""}))
    assert len(build({"x": "a" * room})) == 65_535
    with pytest.raises(LedgerEntryError):
        build({"x": "a" * (room + 1)})


def changed(**fields):
    value = json.loads(ENTRIES[1])
    for path, new in fields.items():
        inner = value
        *way, last = path.split("__")
        for step in way:
            inner = inner[step]
        inner[last] = new
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "fields",
    [
        {"v": 1},
        {"v": True},
        {"v": "1"},
        {"extra": 1},
        {"seq": -1},
        {"seq": "1"},
        {"seq": 1.0},
        {"seq": True},
        {"prev": "0" * 63},
        {"prev": "A" * 64},
        {"t": "2026-03-14T09:26:53Z"},
        {"t": "2026-03-14 09:26:53.589Z"},
        {"type": "x"},
        {"mono": None},
        {"actor": "x"},
        {"actor__id": 1},
        {"subj__n": None},
        {"subj__prev": "0"},
        {"data": []},
        {"data__x": 1.5},
        {"data__x": 2**53},
        {"data__sealed": []},
        {"data__sealed": {"officer": "Erika"}},
    ],
)
def test_bytes_that_break_a_rule_are_no_entry(fields):
    with pytest.raises(LedgerEntryError):
        parse_entry(changed(**fields))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 60_000,
        b'{"a":' * 900 + b"1" + b"}" * 900,
        b"9" * 6_000,
        b'{"v":NaN}',
        ENTRIES[1].replace(b"BWC", b"\\ud800WC"),
        ENTRIES[1].replace(b'"size_bytes":3', b'"size_bytes":9007199254740992'),
        ENTRIES[1].replace(b'"size_bytes":3', b'"size_bytes":-9007199254740992'),
        ENTRIES[1].replace(b'"size_bytes":3', b'"size_bytes":[\n9007199254740992]'),
        ENTRIES[1].replace(b'"size_bytes":3', b'"size_bytes":3e2'),
        ENTRIES[1].replace(b'"camera"', '"cam\u00e9ra"'.encode()),
        b" " * 70_000,
    ],
)
def test_bytes_that_are_nothing_of_ours_are_told_so(body):
    with pytest.raises(LedgerEntryError):
        parse_entry(body)


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_no_bytes_make_the_parser_fail_otherwise(body):
    with pytest.raises(LedgerEntryError):
        parse_entry(body)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: body + b" ",
        lambda body: body.replace(b'"v":2', b'"v": 2'),
        lambda body: body.replace(b'"v":2', b'"v":2,"v":2'),
        lambda body: body.replace(b"BWC", b"\\u0042WC"),
        lambda body: b"{" + b'"v":2,' + body[1:].replace(b',"v":2', b""),
        lambda body: body.replace(b'"size_bytes":3', b'"size_bytes":-0'),
    ],
)
def test_a_second_spelling_is_not_canonical(spoil):
    spoiled = spoil(ENTRIES[1])
    assert spoiled != ENTRIES[1]
    assert not parse_entry(spoiled).canonical


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="ascii"), max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "~", "Z"]), JSON, max_size=4))
def test_what_was_built_is_read_back_the_same(data):
    body = build(data)
    assert parse_entry(body).data == data
    assert parse_entry(body).canonical
    assert rebuilt(body) == body
    assert rfc8785.dumps(json.loads(body)) == body, "as a library writes it that knows all rules"


@given(st.text(st.characters(codec=None, categories=["Cs", "Lu", "Cc"])))
def test_any_text_of_the_operating_system_can_be_stored(text):
    assert parse_entry(build({"x": [text]})).data["x"][0].isprintable() in {True, False}


# -- notes and checkpoints that are none ---------------------------------------------------------

OTHER = Signer("witness.example", Ed25519PrivateKey.from_private_bytes(bytes(32)))
SAME_NAME = Signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(32)))
TEXT = Checkpoint(ORIGIN, 5, bytes(32)).text()


def test_further_signatures_are_passed_over():
    for order in ([SIGNER, OTHER], [OTHER, SIGNER], [SAME_NAME, SIGNER, OTHER]):
        signed = note.sign(TEXT, order)
        assert note.verified_text(signed, SIGNER.verifier()) == TEXT


def test_extension_lines_are_passed_over_and_signed():
    signed = note.sign(TEXT + "extension\n", [SIGNER])
    assert checkpoint.verified(signed, SIGNER.verifier(), ORIGIN) == Checkpoint(
        ORIGIN, 5, bytes(32)
    )
    with pytest.raises(NoteError):
        note.verified_text(signed.replace("extension", "Extension"), SIGNER.verifier())


@pytest.mark.parametrize(
    "signed",
    [
        note.sign(TEXT, [OTHER]),
        note.sign(TEXT, [SAME_NAME]),
        TEXT,
        TEXT + "\n",
        "",
        "\n\n",
        VECTORS["checkpoint"].replace("\n5\n", "\n6\n"),
        VECTORS["checkpoint"].rstrip("\n"),
        VECTORS["checkpoint"] + "x\n",
        VECTORS["checkpoint"] + "\n",
        VECTORS["checkpoint"].replace("\n5\n", "\r\n5\n"),
        VECTORS["checkpoint"].replace("\u2014", "-"),
        note.sign(TEXT, [SIGNER]) + "\u2014 name \u00e4\n",
        note.sign(TEXT, [SIGNER]).replace("\u2014 " + ORIGIN, "\u2014 other"),
    ],
)
def test_not_signed_by_the_key(signed):
    with pytest.raises(NoteError):
        note.verified_text(signed, SIGNER.verifier())


@given(st.data())
def test_no_single_character_of_a_checkpoint_can_be_changed(data):
    signed = VECTORS["checkpoint"]
    place = data.draw(st.integers(0, len(signed) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda c: c != signed[place]))
    spoiled = signed[:place] + other + signed[place + 1 :]
    try:
        found = checkpoint.verified(spoiled, SIGNER.verifier(), ORIGIN)
    except NoteError:
        return
    # Only a second spelling of the signature itself may pass; never another statement.
    assert found == checkpoint.verified(signed, SIGNER.verifier(), ORIGIN)
    assert spoiled.split("\n\n")[0] == signed.split("\n\n")[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n1\n",
        f"\n1\n{base64.b64encode(bytes(32)).decode()}\n",
        f"a\n01\n{base64.b64encode(bytes(32)).decode()}\n",
        f"a\n-1\n{base64.b64encode(bytes(32)).decode()}\n",
        f"a\n1.0\n{base64.b64encode(bytes(32)).decode()}\n",
        f"a\n\u0661\n{base64.b64encode(bytes(32)).decode()}\n",
        f"a\n{'9' * 5000}\n{base64.b64encode(bytes(32)).decode()}\n",
        f"a\n1\n{base64.b64encode(bytes(31)).decode()}\n",
        "a\n1\n!!!!\n",
        "a\n1\n\u00e4\n",
        f"a\n1\n{'A' * 42}B=\n",
    ],
)
def test_no_checkpoint(text):
    with pytest.raises(NoteError):
        checkpoint.parse(text)


def test_a_checkpoint_of_another_log_is_not_ours():
    signed = checkpoint.sign(Checkpoint("other.example/custody/x", 5, bytes(32)), [SIGNER])
    with pytest.raises(NoteError, match=r"other\.example"):
        checkpoint.verified(signed, SIGNER.verifier(), ORIGIN)


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "name",
        KEY["vkey"].replace("507a7aff", "507a7afe"),
        KEY["vkey"].replace(ORIGIN, "other"),
        KEY["vkey"][:-4],
        f"{ORIGIN}+507a7aff+\u00e4",
        f"{ORIGIN}+507a7aff+{base64.b64encode(bytes([2]) + bytes(32)).decode()}",
    ],
)
def test_no_verifier_key(vkey):
    with pytest.raises(NoteError):
        VerifierKey.parse(vkey)


@pytest.mark.parametrize("text", ["", "\n", "no newline", "two\n\n"])
def test_a_text_that_cannot_be_signed(text):
    with pytest.raises(NoteError):
        note.sign(text, [SIGNER])
