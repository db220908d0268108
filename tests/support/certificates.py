# SPDX-License-Identifier: Apache-2.0
"""Certificates and secrets, made by the commands of docs/operations.md.

    made = certificates.make(directory)
    Daemon(directory, {"daemon": {**made.daemon, "listen": [...]}, ...})
    run(program("latentctl"), "status", env=made.env)
"""

import re
import ssl
import subprocess
from pathlib import Path

import processes

NAME = "render1.lan"
PRODUCER = "workstation7"

OPERATIONS = (processes.SOURCE_DIR / "docs/operations.md").read_text()
SECTION = OPERATIONS[OPERATIONS.index(". Beyond one host"):]
COMMANDS, CLIENT = re.findall(r"^```sh\n(.*?)^```", SECTION, re.M | re.S)[:2]


class Certificates:
    """What make() has made; paths, and what is set to them."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.secret_file = self / f"{PRODUCER}.secret"
        self.secret = self.secret_file.read_text().strip()
        self.daemon = {
            "tls_certificate": self / "daemon.crt",
            "tls_key": self / "daemon.key",
            "tls_client_ca": self / "ca.crt",
        }
        self.rule = {
            f"producer {PRODUCER}": {"secret_file": self.secret_file}}
        self.env = {
            "LATENTD_TLS_CA": str(self / "ca.crt"),
            "LATENTD_TLS_CERT": str(self / "producer.crt"),
            "LATENTD_TLS_KEY": str(self / "producer.key"),
            "LATENTD_TLS_NAME": NAME,
            "LATENTD_SECRET_FILE": str(self.secret_file),
        }

    def __truediv__(self, name):
        return self.directory / name

    def context(self, certificate=True):
        """A client's, for ssl and wire."""
        context = ssl.create_default_context(cafile=self / "ca.crt")
        context.check_hostname = False
        if certificate:
            context.load_cert_chain(
                self / "producer.crt", self / "producer.key")
        return context


def make(directory):
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run(["sh", "-euc", COMMANDS], cwd=directory, check=True,
                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return Certificates(directory)
