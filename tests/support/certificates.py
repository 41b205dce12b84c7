"""Certificates for tests: an authority, and what it issues. They are good for two days, and for 127.0.0.1 only."""

import os
import subprocess
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


class Authority:
    """A certificate authority whose files are in a folder; ``ca_file`` is what others trust. Needs ``openssl`` 3."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca_file, self._ca_key = folder / "ca.pem", folder / "ca.key"
        _openssl("-x509", *_KEY, "-keyout", self._ca_key, "-out", self.ca_file, "-subj", "/CN=authority")

    def issue(self, name: str, cert_file: Path, key_file: Path) -> None:
        """Write a new key, and a certificate of this common name; files that are there are replaced, each at once."""
        new_cert, new_key = (file.with_name(f".{file.name}.new") for file in (cert_file, key_file))
        issuer = ("-CA", self.ca_file, "-CAkey", self._ca_key)
        address = ("-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:false")
        _openssl("-x509", *_KEY, *issuer, "-keyout", new_key, "-out", new_cert, "-subj", f"/CN={name}", *address)
        os.replace(new_key, key_file)
        os.replace(new_cert, cert_file)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", "req", *map(str, arguments)], check=True, capture_output=True, timeout=30)
