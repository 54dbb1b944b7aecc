"""`doctor` on FIPS mode: whether what the ledger stands on works there."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bodycam_ingest.doctor import machine
from bodycam_ingest.doctor.result import Outcome
from tests.support.patching import fail


def library():
    return "OpenSSL 9"


@pytest.mark.parametrize(("text", "mode"), [("1\n", True), ("0\n", False), (None, None)])
def test_the_mode_is_what_the_kernel_says(tmp_path, text, mode):
    path = tmp_path / "fips_enabled"
    if text is not None:
        path.write_text(text, encoding="ascii")
    assert machine.fips_mode(path) is mode


@pytest.mark.parametrize("mode", [None, False])
def test_out_of_fips_mode_nothing_is_to_be_done(mode):
    check = machine.judge_fips(mode, "", "", library)
    assert (check.outcome, check.todo) == (Outcome.OK, "")


def test_in_fips_mode_it_is_told_what_signs_and_who_must_accept_it():
    check = machine.judge_fips(True, "", "", library)
    assert check.outcome is Outcome.WARN
    assert "OpenSSL 9" in check.found
    assert check.todo


@pytest.mark.parametrize("mode", [True, False, None])
@pytest.mark.parametrize(("sha256", "ed25519"), [("no digest", ""), ("", "no signature")])
def test_what_the_ledger_cannot_do_without_fails_in_any_mode(mode, sha256, ed25519):
    check = machine.judge_fips(mode, sha256, ed25519, library)
    assert check.outcome is Outcome.FAIL
    assert (sha256 or ed25519) in check.found
    assert check.todo


def test_both_work_here():
    assert (machine.sha256_fault(), machine.ed25519_fault()) == ("", "")
    assert "OpenSSL" in machine.openssl_of_cryptography()


@pytest.mark.parametrize("error", [UnsupportedAlgorithm("not in FIPS"), InternalError("x", [])])
def test_a_library_that_refuses_to_sign_is_told(monkeypatch, error):
    fail(monkeypatch, Ed25519PrivateKey, "generate", error)
    assert machine.ed25519_fault()
    assert machine.fips().outcome is Outcome.FAIL


def test_a_signature_that_does_not_verify_is_told(monkeypatch):
    other = Ed25519PrivateKey.generate()

    class Wrong:
        def public_key(self):
            return other.public_key()

        def sign(self, _message):
            return bytes(64)

    monkeypatch.setattr(Ed25519PrivateKey, "generate", Wrong)
    assert machine.ed25519_fault() == "InvalidSignature"


def test_a_refused_or_wrong_sha_256_is_told(monkeypatch):
    fail(monkeypatch, hashlib, "sha256", ValueError("disabled for FIPS"))
    assert machine.sha256_fault() == "disabled for FIPS"
    monkeypatch.setattr(hashlib, "sha256", hashlib.sha512)
    assert machine.sha256_fault().startswith("a wrong digest")
