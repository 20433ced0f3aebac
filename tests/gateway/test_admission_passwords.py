"""What is kept of passwords, and how they are compared."""

from __future__ import annotations

import asyncio
import base64
import shutil
import subprocess

import pytest

from evproto.gateway.admission_passwords import COSTS, HashError, Passwords, check_hash, make_hash

WAIT = 30.0

# RFC 7914, section 12: P="pleaseletmein", S="SodiumChloride", N=16384, r=8, p=1, dkLen=64.
RFC_DIGEST = bytes.fromhex(
    "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
    "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"
)
RFC_HASH = "$scrypt$ln=14,r=8,p=1$" + "$".join(
    base64.b64encode(part).decode().rstrip("=") for part in (b"SodiumChloride", RFC_DIGEST)
)


def is_right(password: bytes, kept: str) -> bool:
    async def run() -> bool:
        passwords = Passwords()
        try:
            async with asyncio.timeout(WAIT):
                return await passwords.is_right(password, kept)
        finally:
            passwords.close()

    return asyncio.run(run())


def test_a_hash_of_the_rfc_is_understood() -> None:
    assert is_right(b"pleaseletmein", RFC_HASH)
    assert not is_right(b"pleaseletmeim", RFC_HASH)


@pytest.mark.parametrize(
    "password", [b"correct horse", bytes(range(20)), b"\0a", "密码".encode(), b"x" * 4096], ids=len
)
def test_a_password_is_right_and_any_other_is_not(password: bytes) -> None:
    kept = make_hash(password, 10)
    assert is_right(password, kept)
    for other in (password + b"\1", b"\0" + password, password[:-1], password.upper() + b"!", b""):
        assert not is_right(other, kept)


def test_what_is_made_is_what_another_program_computes() -> None:
    kept = make_hash(b"plain text", 11)
    _, name, parameters, salt, digest = kept.split("$")
    assert (name, parameters) == ("scrypt", "ln=11,r=8,p=1")
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    options = ["n:2048", "r:8", "p:1", "pass:plain text", f"hexsalt:{base64.b64decode(salt + '==').hex()}"]
    done = subprocess.run(
        [openssl, "kdf", "-keylen", "32", "-binary", *(w for o in options for w in ("-kdfopt", o)), "SCRYPT"],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"openssl has no scrypt: {done.stderr!r}")
    assert done.stdout == base64.b64decode(digest + "=")


def test_two_hashes_of_a_password_are_not_alike() -> None:
    assert make_hash(b"the same", 10) != make_hash(b"the same", 10)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "sha256:" + "0" * 64,
        "$scrypt$ln=9,r=8,p=1$c29kaXVtY2hsb3JpZGU$c29kaXVtY2hsb3JpZGVzb2RpdW0",
        "$scrypt$ln=18,r=32,p=1$c29kaXVtY2hsb3JpZGU$c29kaXVtY2hsb3JpZGVzb2RpdW0",
        "$scrypt$ln=14,r=0,p=1$c29kaXVtY2hsb3JpZGU$c29kaXVtY2hsb3JpZGVzb2RpdW0",
        "$scrypt$ln=14,r=8,p=99$c29kaXVtY2hsb3JpZGU$c29kaXVtY2hsb3JpZGVzb2RpdW0",
        "$scrypt$ln=14,r=8,p=1$c29kaXVt$c29kaXVtY2hsb3JpZGVzb2RpdW0",
        RFC_HASH[:-1] + "=",
        RFC_HASH + "\n",
        # Thirteen digits of base64 are no whole number of bytes.
        "$scrypt$ln=14,r=8,p=1$c29kaXVtY2hsb$c29kaXVtY2hsb3JpZGVzb2RpdW0",
    ],
)
def test_what_is_no_hash_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(HashError) as caught:
        check_hash(text)
    assert len(text) < 6 or text not in str(caught.value)


def test_empty_passwords_and_strange_costs_are_not_hashed() -> None:
    for password in (b"", b"\0" * 20):
        with pytest.raises(ValueError, match="empty"):
            make_hash(password)
    for cost in (0, COSTS[0] - 1, COSTS[-1] + 1):
        with pytest.raises(ValueError, match="cost"):
            make_hash(b"password", cost)


def test_a_thousand_that_come_again_are_computed_once_each() -> None:
    # One password and its hash stand for many chargers: what is counted is how often scrypt ran.
    kept = [make_hash(bytes([number + 1]) * 20, 10) for number in range(4)]

    async def run() -> None:
        passwords = Passwords()
        knocks = [(bytes([number % 4 + 1]) * 20, kept[number % 4]) for number in range(1000)]
        async with asyncio.timeout(WAIT):
            assert all(await asyncio.gather(*(passwords.is_right(*knock) for knock in knocks)))
            # Two threads may have begun with the same one; no more than there are threads.
            assert 4 <= passwords.computed <= 16
            before = passwords.computed
            assert all(await asyncio.gather(*(passwords.is_right(*knock) for knock in knocks)))
        assert passwords.computed == before
        passwords.close()

    asyncio.run(run())


def test_wrong_passwords_are_not_remembered() -> None:
    kept = make_hash(b"right", 10)

    async def run() -> None:
        passwords = Passwords()
        for _ in range(3):
            assert not await passwords.is_right(b"wrong", kept)
        assert passwords.computed == 3
        # Nor is one that is right for another entry.
        assert await passwords.is_right(b"right", kept)
        assert not await passwords.is_right(b"right", make_hash(b"other", 10))
        passwords.close()

    asyncio.run(run())


def test_what_is_remembered_is_bounded() -> None:
    kept = [make_hash(bytes([number + 1]), 10) for number in range(4)]

    async def run() -> int:
        passwords = Passwords(remembered=2)
        for number in (0, 1, 2, 3, 3, 2):
            assert await passwords.is_right(bytes([number + 1]), kept[number])
        assert passwords.computed == 4
        assert await passwords.is_right(bytes([1]), kept[0])
        passwords.close()
        return passwords.computed

    assert asyncio.run(run()) == 5


def test_the_loop_goes_on_meanwhile_and_who_leaves_costs_one_computation() -> None:
    kept = make_hash(b"password", 15)

    async def run() -> None:
        passwords = Passwords(threads=1)
        first = asyncio.create_task(passwords.is_right(b"password", kept))
        others = [asyncio.create_task(passwords.is_right(bytes([n]) * 9, kept)) for n in range(50)]
        turns = 0
        while passwords.computed == 0:
            await asyncio.sleep(0)
        while not passwords._right and turns < 1_000_000:
            if turns == 3:
                for task in (first, *others):
                    task.cancel()
            turns += 1
            await asyncio.sleep(0)
        assert turns > 3
        assert passwords.computed == 1
        # The one that had begun was finished and remembered, though nobody waited for it.
        async with asyncio.timeout(WAIT):
            assert await passwords.is_right(b"password", kept)
        assert passwords.computed == 1
        passwords.close()

    asyncio.run(run())


def test_an_unknown_charger_costs_what_a_wrong_password_costs() -> None:
    async def run() -> None:
        passwords = Passwords()
        await passwords.waste(b"guess", None)
        await passwords.waste(b"guess", make_hash(b"x", 10))
        assert passwords.computed == 2
        passwords.close()

    asyncio.run(run())
