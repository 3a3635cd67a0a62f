"""A real nginx that ends TLS before a control plane, with a certificate of a private authority, and passes WebSockets on."""

from __future__ import annotations

import datetime
import shutil
import socket
import subprocess
import time
from ipaddress import ip_address as ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from fleet.ports import free_port

PROGRAM = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


class Nginx:
    """`start` with the ports behind it; `authority` is the PEM file to trust."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.authority = folder / "ca.pem"
        self._folder = folder
        folder.mkdir()
        self._make_certificates()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, http_port: int, websocket_port: int) -> None:
        folder = self._folder
        (folder / "nginx.conf").write_text(
            f"""
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 256; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; client_max_body_size 0;
  server {{
    listen 127.0.0.1:{self.port} ssl;
    ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.pem;
    location / {{ proxy_pass http://127.0.0.1:{http_port}; proxy_read_timeout 60s; proxy_set_header Host $http_host; }}
    location /mqtt {{
      proxy_pass http://127.0.0.1:{websocket_port}; proxy_http_version 1.1; proxy_read_timeout 300s;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
    }}
  }}
}}
"""
        )
        assert PROGRAM is not None
        command = [PROGRAM, "-c", str(folder / "nginx.conf"), "-p", str(folder)]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline_mono = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
                return
            except OSError:
                assert time.monotonic() < deadline_mono, (folder / "error.log").read_text()
                time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)

    def _make_certificates(self) -> None:
        at = datetime.datetime.now(datetime.timezone.utc)
        keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
        names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("Site CA", "proxy")]
        made = []
        for n, (name, key) in enumerate(zip(names, keys, strict=True)):
            builder = x509.CertificateBuilder(names[0], name, key.public_key(), x509.random_serial_number())
            builder = builder.not_valid_before(at - datetime.timedelta(days=1))
            builder = builder.not_valid_after(at + datetime.timedelta(days=30))
            builder = builder.add_extension(x509.BasicConstraints(n == 0, None), critical=True)
            if n == 1:
                address = x509.IPAddress(ipaddress("127.0.0.1"))
                builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
            made.append(builder.sign(keys[0], hashes.SHA256()))
        self.authority.write_bytes(made[0].public_bytes(Encoding.PEM))
        key = keys[1].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self._folder / "server.pem").write_bytes(key + made[1].public_bytes(Encoding.PEM))
