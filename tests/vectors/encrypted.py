"""The vectors of the encrypted schemes: keys, secrets, how elements lie in ciphertexts, and a ciphertext itself.

SEAL's noise is random, so that no vector can be of SEAL's encryption. Here a ciphertext is made with integers, of noise
that is recorded: whoever reads it as SEAL does opens it to the values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from secagg.encoding.ring import Ring
from secagg.homomorphic.cipher import Cipher
from secagg.homomorphic.coefficients import Packing, Splitting
from secagg.homomorphic.context import public_context
from secagg.homomorphic.parameters import ALLOWED, Encryption, approximate_plain_bits, exact_plain_bits
from secagg.homomorphic.spec import SEED_SIZE, CipherSpec
from secagg.homomorphic.words import pack_words, words_size
from secagg.masking import Session, kdf
from secagg.masking.keystream import SignedKey, add_masks
from secagg.masking.tags import tag_size
from tests.support.ciphers import SMALL, at_roots, bfv, ckks, decrypted, phase, polynomials, secret_of, summed

_HEAD = 8


def encrypted(session: Session, randomness: Callable[[int], bytes]) -> dict[str, Any]:
    """All of them.

    Args:
        session: of an encrypted scheme.
        randomness: gives n bytes.
    """
    seed = randomness(SEED_SIZE)
    return {
        "about": "Randomness is that of the party 'encrypted': the seed of the secret, then group, then ciphertext.",
        "group": group(session, randomness),
        "contexts": [
            {
                "set": spec.parameters.name,
                "bits": spec.bits,
                "scheme": spec.encryption.value,
                "bytes": public_context(spec).hex(),
            }
            for spec in (bfv(48), ckks(48))
        ],
        "secret": {"seed": seed.hex(), "head": secret_of(seed)[:64]},
        "plain_bits": [
            {
                "set": name,
                "contributors": n,
                "coefficients": c,
                "bfv": exact_plain_bits(ALLOWED[name], n, c),
                "ckks": approximate_plain_bits(ALLOWED[name], n, c),
            }
            for name in sorted(ALLOWED)
            for n, c in ((3, 4096), (100, 2_004_096), (300, 2_004_096), (1000, 2_004_096))
        ],
        "coefficients": [*packings(), *splittings()],
        "scaled": scaled(),
        "transformed": transformed(),
        "masked": masked(),
        "residues": residues(),
        "ciphertexts": [ciphertext(spec, seed, randomness) for spec in (bfv(48), ckks(48))],
    }


def group(session: Session, randomness: Callable[[int], bytes]) -> dict[str, Any]:
    parts = {number: randomness(32) for number in (1, 2, 4)}
    roster, survivors = randomness(32), randomness(32)
    key = kdf.epoch_group_key(parts, session, roster)
    seed = kdf.encryption_seed(key, session)
    purpose = session.context("homomorphic secret fingerprint", 0)
    return {
        "contributions": {str(number): part.hex() for number, part in parts.items()},
        "roster_digest": roster.hex(),
        "group_key": key.hex(),
        "tag_key": kdf.epoch_tag_key(parts, session, roster).hex(),
        "encryption_seed": seed.hex(),
        "fingerprint": Cipher(session.form.spec, seed).fingerprint(purpose).hex(),
        "tag_pad": f"{kdf.tag_pad(key, session, 2, 4):064x}",
        "survivors_digest": survivors.hex(),
        "reveal_sealing_key": kdf.reveal_sealing_key(key, session, 2, 4, survivors).hex(),
    }


def packings() -> list[dict[str, Any]]:
    made = []
    for bits, k, signed in (
        (16, 3, [1, -1, 32767, -32768, 5, 0, 7]),
        (24, 2, [1, -1, -8388608, 8388607, 3]),
        (24, 1, [1, -1]),
        (40, 1, [1, -1, 2**39 - 1]),
    ):
        packing = Packing(Ring(bits), k)
        elements = packing.ring.from_signed(np.array(signed, np.int64))
        made.append(
            {
                "bits": bits,
                "per_coefficient": k,
                "plain_bits": packing.plain_bits,
                "elements": signed,
                "coefficients": packing.values(packing.pack(elements)).tolist(),
            }
        )
    return made


def masked() -> dict[str, Any]:
    """What `double-lock` puts into coefficients, and its tag, before the pad."""
    packing, signed = Packing(Ring(24), 2), [1, -1, -8388608, 8388607, 3]
    keys = [SignedKey(bytes(range(32)), 1), SignedKey(bytes(32), -1)]
    packed = packing.pack(packing.ring.from_signed(np.array(signed, np.int64)))
    tags = add_masks(packed, keys, [12345], tag_size(packing.ring))
    return {
        "bits": 24,
        "per_coefficient": 2,
        "elements": signed,
        "tag": 12345,
        "masks": [{"key": item.key.hex(), "sign": item.sign} for item in keys],
        "coefficients": packing.values(packed).tolist(),
        "masked_tag": tags[0],
    }


def splittings() -> list[dict[str, Any]]:
    made = []
    for bits, contributors, signed in ((64, 3, [1, -1, 2**62]), (51, 1000, [1, -1, -(2**50)])):
        splitting = Splitting(Ring(bits), contributors)
        elements = splitting.ring.from_signed(np.array(signed, np.int64))
        made.append(
            {
                "bits": bits,
                "contributors": contributors,
                "plain_bits": splitting.plain_bits,
                "elements": signed,
                "coefficients": splitting.values(splitting.pack(elements)).tolist(),
            }
        )
    return made


def scaled() -> list[dict[str, Any]]:
    """Under CKKS: coefficients in 0 .. 2^T - 1, as residues modulo q."""
    made = []
    for bits, signed in ((48, [1, -1, 2**47 - 1, -(2**47)]), (35, [5, 2**32 - 1])):
        spec = ckks(bits)
        coefficients = [value % (1 << bits) for value in signed]
        made.append(
            {
                "plain_bits": bits,
                "scale_bits": spec.scale_bits,
                "coefficients": coefficients,
                "residues": [residue_of(spec, coefficient) for coefficient in coefficients],
            }
        )
    return made


def residue_of(spec: CipherSpec, coefficient: int) -> int:
    modulus, plain = spec.parameters.modulus, 1 << spec.bits
    if spec.encryption is Encryption.BFV:
        return (2 * modulus * coefficient + plain) // (2 * plain) % modulus
    return ((coefficient - plain * (2 * coefficient >= plain)) << spec.scale_bits) % modulus


def transformed() -> dict[str, Any]:
    return {
        "set": SMALL.name,
        "about": "The polynomial 5 + 7 X + 11 X^(N-1).",
        "residues_head": at_roots(SMALL, [5, 7, *[0] * (SMALL.degree - 3), 11])[:_HEAD],
    }


def residues() -> list[dict[str, Any]]:
    made = []
    largest = SMALL.modulus - 1
    for words in (list(range(1, 17)), [largest, 0, 1, largest] * 8, [1 << i for i in range(48)]):
        packed = bytearray(words_size(len(words)))
        pack_words(np.array(words, np.uint64), memoryview(packed))
        made.append({"residues": words, "packed": packed.hex()})
    return made


def ciphertext(spec: CipherSpec, seed: bytes, randomness: Callable[[int], bytes]) -> dict[str, Any]:
    """Two fresh blocks and their sum. Of numbers of 47 bits, two make no sum that wraps."""
    modulus = spec.parameters.modulus
    secret, blocks, all_values = secret_of(seed), [], []
    for _ in range(2):
        polynomial_seed = randomness(SEED_SIZE)
        signed = [int.from_bytes(randomness(6), "little", signed=True) // 2 for _ in range(spec.block)]
        values = [value % (1 << spec.bits) for value in signed]
        noise = [byte % 43 - 21 for byte in randomness(spec.block)]
        # With a first polynomial of zeros, what is left is c_1 s.
        product = phase(spec, summed(spec, [fresh(polynomial_seed, [0] * spec.block)]), secret)
        first = [
            (residue_of(spec, value) + off - rest) % modulus
            for value, off, rest in zip(values, noise, product, strict=True)
        ]
        if spec.encryption is Encryption.CKKS:
            first = at_roots(spec.parameters, first)
        blocks.append({"polynomial_seed": polynomial_seed.hex(), "block": fresh(polynomial_seed, first)})
        all_values.append(values)
    total = summed(spec, [block["block"] for block in blocks])
    opened = decrypted(Cipher(spec, seed), total).tolist()
    assert opened == [(one + other) % (1 << spec.bits) for one, other in zip(*all_values, strict=True)]
    return {
        "set": spec.parameters.name,
        "scheme": spec.encryption.value,
        "plain_bits": spec.bits,
        "about": "Of each block: 64 bytes of seed; 6 bytes for each value, a signed number, of which half is taken and "
        "rounded down; a byte for each noise, modulo 43, less 21.",
        "blocks": [
            {
                "polynomial_seed": block["polynomial_seed"],
                "second_polynomial_head": polynomials(spec, summed(spec, [block["block"]]))[1][:_HEAD],
                "values_head": values[:_HEAD],
                "block_head": block["block"][:96].hex(),
                "block_sha256": hashlib.sha256(block["block"]).hexdigest(),
            }
            for block, values in zip(blocks, all_values, strict=True)
        ],
        "sum_sha256": hashlib.sha256(total).hexdigest(),
        "opened_head": opened[:_HEAD],
    }


def fresh(polynomial_seed: bytes, first: list[int]) -> bytes:
    block = bytearray(SEED_SIZE + words_size(len(first)))
    block[:SEED_SIZE] = polynomial_seed
    pack_words(np.array(first, np.uint64), memoryview(block)[SEED_SIZE:])
    return bytes(block)
