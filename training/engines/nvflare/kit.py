"""A start-up kit as it lies in a folder: whose it is, whom it dials, and that its certificate belongs to its key.

Knows NVFlare's file names and X.509. Knows nothing of NVFlare's code, so it is quick, and of no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from secagg.errors import InputError, TamperingError
from secagg.files import read_bounded
from secagg.json_documents import MALFORMED

STARTUP: Final = "startup"
LOCAL: Final = "local"
ROOT_CERTIFICATE: Final = "rootCA.pem"
# Signatures by the root's key over the files beside it.
SIGNATURES_FILE: Final = "signature.json"
_LARGEST: Final = 256 * 1024

Content = TypeVar("Content", bound=msgspec.Struct)


class Role(StrEnum):
    """What a kit is for."""

    HOSPITAL = "hospital"
    SERVER = "server"
    ADMIN = "admin"

    @property
    def startup_file(self) -> str:
        """The file by which NVFlare starts it."""
        return {Role.HOSPITAL: "fed_client.json", Role.SERVER: "fed_server.json", Role.ADMIN: "fed_admin.json"}[self]

    @property
    def key_stem(self) -> str:
        """The name of its key and certificate."""
        return "server" if self is Role.SERVER else "client"


@dataclass(frozen=True)
class Kit:
    """One party's kit.

    Attributes:
        folder: with ``startup`` and ``local``; NVFlare writes its logs and jobs there too.
        name: the common name in its certificate: a site's, an administrator's, or the server's host.
        organisation: as in its certificate.
        host, port: of the server: where hospitals dial, and what the server listens on.
        valid_from, expires: of its certificate, UTC.
        authority: SHA-256 of the root certificate, as `openssl x509 -fingerprint -sha256` writes it.
        authority_expires: when the root certificate does.
    """

    folder: Path
    role: Role
    name: str
    organisation: str
    host: str
    port: int
    valid_from: datetime
    expires: datetime
    authority: str
    authority_expires: datetime

    @property
    def startup(self) -> Path:
        """Keys, certificates and whom to dial."""
        return self.folder / STARTUP

    @property
    def local(self) -> Path:
        """What this site allows."""
        return self.folder / LOCAL


class _Service(msgspec.Struct):
    target: str
    scheme: str


class _Server(msgspec.Struct):
    name: str
    service: _Service


class _Startup(msgspec.Struct):
    servers: list[_Server]


class _Admin(msgspec.Struct):
    username: str
    host: str
    port: int


class _AdminStartup(msgspec.Struct):
    admin: _Admin


def read_kit(folder: Path) -> Kit:
    """Read the kit in ``folder``.

    Raises:
        InputError: ``no-kit``, ``malformed-kit``, ``unreadable``.
        TamperingError: ``foreign-certificate``: its certificate is not of its authority, or not of its key.
    """
    role = _role(folder)
    host, port = _server(folder, role)
    certificate = _certificate(folder / STARTUP / f"{role.key_stem}.crt")
    authority = _certificate(folder / STARTUP / ROOT_CERTIFICATE)
    _require_match(folder, role, certificate, authority)
    return Kit(
        folder=folder,
        role=role,
        name=_attribute(certificate, NameOID.COMMON_NAME),
        organisation=_attribute(certificate, NameOID.ORGANIZATION_NAME),
        host=host,
        port=port,
        valid_from=certificate.not_valid_before_utc,
        expires=certificate.not_valid_after_utc,
        authority=certificate_fingerprint(authority),
        authority_expires=authority.not_valid_after_utc,
    )


def certificate_fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate, 64 capitals in pairs."""
    return certificate.fingerprint(SHA256()).hex(":").upper()


def _role(folder: Path) -> Role:
    for role in Role:
        if (folder / STARTUP / role.startup_file).is_file():
            return role
    raise InputError(
        "no-kit",
        f"{folder} holds no start-up kit.",
        culprit=str(folder),
        remedy="Put the folder there that `secagg charter provision` made for this party, with `startup` in it.",
    )


def _server(folder: Path, role: Role) -> tuple[str, int]:
    path = folder / STARTUP / role.startup_file
    if role is Role.ADMIN:
        admin = _parse(path, _AdminStartup).admin
        return admin.host, admin.port
    servers = _parse(path, _Startup).servers
    host, separator, port = servers[0].service.target.rpartition(":") if servers else ("", "", "")
    if not separator or not port.isdecimal():
        raise _malformed(path)
    return host, int(port)


def _parse(path: Path, kind: type[Content]) -> Content:
    try:
        return msgspec.json.decode(read_bounded(path, _LARGEST), type=kind)
    except MALFORMED as error:
        raise _malformed(path) from error


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(read_bounded(path, _LARGEST))
    except ValueError as error:
        raise _malformed(path) from error


def _attribute(certificate: x509.Certificate, name: x509.ObjectIdentifier) -> str:
    values = certificate.subject.get_attributes_for_oid(name)
    return str(values[0].value) if values else ""


def _require_match(folder: Path, role: Role, certificate: x509.Certificate, authority: x509.Certificate) -> None:
    path = folder / STARTUP / f"{role.key_stem}.key"
    try:
        key = load_pem_private_key(read_bounded(path, _LARGEST), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _malformed(path) from error
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise _foreign(folder, "is not signed by the root certificate beside it") from error
    if key.public_key() != certificate.public_key():
        raise _foreign(folder, "does not belong to the key beside it")


def _malformed(path: Path) -> InputError:
    return InputError(
        "malformed-kit",
        f"{path} is not a file as NVFlare's provisioning writes it.",
        culprit=str(path),
        remedy="Copy the kit again from whoever provisioned it.",
    )


def _foreign(folder: Path, what: str) -> TamperingError:
    return TamperingError(
        "foreign-certificate",
        f"The certificate of the kit in {folder} {what}.",
        culprit=str(folder),
        remedy="Do not use this kit; ask whoever provisioned it for another, and compare the root's fingerprint.",
    )
