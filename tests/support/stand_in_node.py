"""A node executable that does nothing but what its launcher sees: files, signals, exit codes (drop-in.md 3.2).

Run as a script with `--config <file>`. In a directory that holds a file `die`, it says so on stderr and exits with 1.
"""

import json
import os
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID


def main() -> int:
    config = json.loads(Path(sys.argv[sys.argv.index("--config") + 1]).read_text())
    output = config["output_files"]
    with open(output["pid_file"], "x") as file:
        file.write(str(os.getpid()))
    if Path("die").exists() or Path("../die").exists():
        print("told to die", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _write(output["node_certificate_file"], _certificate())
    interface, bind = next(iter(config["network"]["rpc_interfaces"].items()))
    host = bind["bind_address"].rpartition(":")[0]
    _write(output["node_to_node_address_file"], json.dumps({"node_to_node_interface": f"{host}:4000"}))
    _write(output["rpc_addresses_file"], json.dumps({interface: f"{host}:4001"}))
    if config["command"]["type"] == "Start":
        _write(config["command"]["service_certificate_file"], _certificate())
    while True:
        time.sleep(1)


def _certificate() -> str:
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CCF Node")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now)
    certificate = builder.not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA384())
    return certificate.public_bytes(Encoding.PEM).decode()


def _write(path: str, text: str) -> None:
    temporary = Path(f".{path}.tmp")
    temporary.write_text(text)
    temporary.rename(path)


if __name__ == "__main__":
    sys.exit(main())
