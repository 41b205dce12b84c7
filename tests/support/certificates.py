"""Certificates for tests: authorities, what they issue, and files that are replaced as whoever renews them does."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization


@dataclass
class Files:
    """The three files of a client; `put` replaces all of them."""

    folder: Path
    ca: Path = field(init=False)
    cert: Path = field(init=False)
    key: Path = field(init=False)

    def __post_init__(self) -> None:
        self.ca, self.cert, self.key = (self.folder / name for name in ("ca.pem", "cert.pem", "key.pem"))

    def put(self, authority: trustme.CA, client: trustme.LeafCert) -> None:
        """Write the files of a client, and the authority that it trusts."""
        self.put_authority(authority)
        self.put_key(client)
        self.put_certificate(client)

    def put_authority(self, authority: trustme.CA) -> None:
        """Write only what is trusted."""
        self.ca.write_bytes(authority.cert_pem.bytes())

    def put_key(self, client: trustme.LeafCert) -> None:
        """Write only the key."""
        self.key.write_bytes(client.private_key_pem.bytes())

    def put_certificate(self, client: trustme.LeafCert) -> None:
        """Write only the certificate, with what leads to its authority."""
        self.cert.write_bytes(b"".join(pem.bytes() for pem in client.cert_chain_pems))

    @property
    def settings(self) -> dict[str, str]:
        """``kafka.security`` with these files."""
        return {"protocol": "SSL", "ca_file": str(self.ca), "cert_file": str(self.cert), "key_file": str(self.key)}


def issued_to_client(authority: trustme.CA, name: str) -> trustme.LeafCert:
    """A client's certificate, which is recognised by its name."""
    # Java refuses a certificate that has no alternative name.
    return authority.issue_cert(f"{name}.example", common_name=name)


def put_broker_files(keystore: Path, truststore: Path, authority: trustme.CA, host: str = "localhost") -> None:
    """Write a broker's certificate and whom it trusts, as Kafka reads them."""
    # A broker that runs takes a new certificate only if it is of the same name.
    broker = authority.issue_cert(host, common_name=host, organization_name="tests", organization_unit_name="brokers")
    key = serialization.load_pem_private_key(broker.private_key_pem.bytes(), None)
    for_kafka = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    keystore.write_bytes(for_kafka + b"".join(pem.bytes() for pem in broker.cert_chain_pems))
    truststore.write_bytes(authority.cert_pem.bytes())


class Authority:
    """A certificate authority whose certificate is in a folder; ``ca_file`` is what others trust."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca_file = folder / "ca.pem"
        self._authority = trustme.CA()
        self.ca_file.write_bytes(self._authority.cert_pem.bytes())

    def issue(self, name: str, cert_file: Path, key_file: Path) -> None:
        """Write a new key, and a certificate of this common name; files that are there are replaced, each at once."""
        issued = self._authority.issue_cert("127.0.0.1", common_name=name)
        for file, content in (
            (key_file, issued.private_key_pem.bytes()),
            (cert_file, b"".join(pem.bytes() for pem in issued.cert_chain_pems)),
        ):
            new = file.with_name(f".{file.name}.new")
            new.write_bytes(content)
            os.replace(new, file)
