"""TLS to the brokers, and of our own receivers, with certificate files that may be replaced while the service runs.

Some certificates are valid for days only, and each renewal writes the files anew. A connection that is made afterwards
has to present the new certificate, and to trust the new authority instead of the old one.
"""

import hashlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from providers.errors import Mistake
from providers.logger import Logger


class UnusableFiles(Mistake):
    """Certificate files cannot be used: one line for the user."""


class CertificateFiles:
    """The certificate files of one ``section``, from which SSL contexts are made: of a client, or of a server."""

    def __init__(
        self,
        *,
        ca_file: str | None,
        cert_file: str | None,
        key_file: str | None,
        section: str = "kafka.security",
        is_server: bool = False,
    ) -> None:
        self._section = section
        self._is_server = is_server
        self._ca_file, self._cert_file, self._key_file = ca_file, cert_file, key_file
        self._paths = [path for path in (ca_file, cert_file, key_file) if path is not None]

    def digest(self) -> bytes:
        """A digest of the files' contents, also of files that cannot be read. The private key itself is not kept.

        It is made of the contents, not of the times: a file can be replaced within one tick of the file system's clock.
        The files have a few kilobytes, which are read in a tenth of a millisecond.
        """
        return hashlib.sha256(b"".join(map(_digest, self._paths))).digest()

    def load(self) -> ssl.SSLContext:
        """A context for connections.

        Raises `UnusableFiles` if a file cannot be read or is of another kind, or if certificate and key are no pair.
        """
        with self._as_one_line():
            purpose = ssl.Purpose.CLIENT_AUTH if self._is_server else ssl.Purpose.SERVER_AUTH
            context = ssl.create_default_context(purpose, cafile=self._ca_file)
            self._load_pair(context)
            return context

    def renew(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """A context like the earlier ``context``, with the contents that the files have now.

        Raises `UnusableFiles` as `load` does; the earlier context is unchanged then.
        """
        if self._ca_file is not None or self._is_server:
            return self.load()
        # Reading the system's authorities would stop the event loop for 50 ms: the context that has them is kept.
        with self._as_one_line():
            self._load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
            self._load_pair(context)
            return context

    def _load_pair(self, context: ssl.SSLContext) -> None:
        if self._cert_file is not None:
            context.load_cert_chain(self._cert_file, self._key_file, password=self._no_password)

    @contextmanager
    def _as_one_line(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # ssl.SSLError is an OSError
            reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
            raise UnusableFiles(f"{self._section}: the certificate files cannot be used: {reason or error}") from error

    def _no_password(self) -> str:
        # Without this, OpenSSL would ask for the password on the terminal, and the start would wait for ever.
        raise UnusableFiles(
            f"{self._section}.key_file: the key is encrypted, and there is nobody to ask for its password"
        )


class RenewingContext(ssl.SSLContext):
    """A context that looks, before every new connection, whether its files have changed (see `CertificateFiles`).

    aiokafka takes one context for all connections of a client, and a server has one; asyncio calls `wrap_bio` for each
    connection. The call is passed on to a context made from the newest files. While these do not fit together, for
    example when a new key is written and its certificate is not yet, the context before stays in use.
    """

    _files: CertificateFiles
    _log: Logger | None
    _inner: ssl.SSLContext
    _taken: bytes
    _refused: bytes | None

    def __new__(cls, files: CertificateFiles, log: Logger | None = None) -> "RenewingContext":
        """Read the files. Raises `UnusableFiles` as `CertificateFiles.load` does."""
        context = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        context._files, context._log = files, log
        context._taken, context._refused = files.digest(), None
        context._inner = files.load()
        return context

    def wrap_bio(self, *args: Any, **named: Any) -> ssl.SSLObject:
        """Begin the TLS of one connection; asyncio calls this."""
        self._renew()
        return self._inner.wrap_bio(*args, **named)

    def _renew(self) -> None:
        digest = self._files.digest()
        if digest == self._taken:
            return
        try:
            self._inner = self._files.renew(self._inner)
        except UnusableFiles as error:
            if digest != self._refused and self._log is not None:
                self._log.error("certificates_unusable", error=str(error), used="those read before")
            self._refused = digest
        else:
            self._taken, self._refused = digest, None
            if self._log is not None:
                self._log.info("certificates_renewed")


def _digest(path: str) -> bytes:
    try:
        return hashlib.sha256(Path(path).read_bytes()).digest()
    except OSError as error:
        return hashlib.sha256(repr(error.errno).encode()).digest()
