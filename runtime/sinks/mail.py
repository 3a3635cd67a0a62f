"""E-mail by SMTP (RFC 5321), over TLS wherever the server offers it; a password never travels in the clear."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from runtime.sinks.sender import Undelivered

PLAIN_FIRST = frozenset({25, 587, 2525})
"""Ports on which a server speaks first and TLS begins later (RFC 3207); on others TLS is tried at once (RFC 8314, 3.3)."""
TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Mail:
    """A message ready to go. `attachments`: file name → content and media type; `html`: the body is HTML."""

    server: str
    port: int
    sender: str
    password: str
    to: Sequence[str]
    subject: str
    text: str
    cc: Sequence[str] = ()
    bcc: Sequence[str] = ()
    html: bool = False
    attachments: Mapping[str, tuple[bytes, str]] = field(default_factory=dict)


def send(body: Callable[[], Mail]) -> None:
    """Hand a message to its server.

    :raises Undelivered: the server cannot be reached, or refuses
    """
    mail = body()
    try:
        with _connect(mail) as server:
            if mail.password:
                server.login(mail.sender, mail.password)
            server.send_message(message(mail), mail.sender, [*mail.to, *mail.cc, *mail.bcc])
    except smtplib.SMTPAuthenticationError as e:
        raise Undelivered(f"{mail.server} does not accept the password of {mail.sender}", again=False) from e
    except smtplib.SMTPRecipientsRefused as e:
        codes = [code for code, _ in e.recipients.values()]
        raise Undelivered(f"{mail.server} refuses the receivers", again=all(c < 500 for c in codes)) from e
    except smtplib.SMTPResponseException as e:
        raise Undelivered(f"{mail.server} answers {e.smtp_code}", again=e.smtp_code < 500) from e
    except (smtplib.SMTPException, OSError) as e:
        raise Undelivered(f"{mail.server}:{mail.port}: {e}") from e


def message(mail: Mail) -> EmailMessage:
    """The message as it travels; blind copies are not in it."""
    out = EmailMessage()
    out["From"], out["To"], out["Subject"] = mail.sender, ", ".join(mail.to), _line(mail.subject)
    if mail.cc:
        out["Cc"] = ", ".join(mail.cc)
    out["Date"], out["Message-ID"] = formatdate(), make_msgid(domain="outrider.invalid")
    out.set_content(mail.text, subtype="html" if mail.html else "plain")
    for name, (content, media_type) in mail.attachments.items():
        main, _, sub = media_type.partition("/")
        out.add_attachment(content, maintype=main, subtype=sub, filename=_line(name))
    return out


def _line(text: str) -> str:
    return " ".join(text.split())


def _connect(mail: Mail) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if mail.port not in PLAIN_FIRST:
        try:
            return smtplib.SMTP_SSL(mail.server, mail.port, timeout=TIMEOUT_S, context=context)
        except ssl.SSLCertVerificationError:
            raise
        except ssl.SSLError:
            pass  # the server spoke first, and in the clear
    server = smtplib.SMTP(mail.server, mail.port, timeout=TIMEOUT_S)
    try:
        server.ehlo()
        if server.has_extn("starttls"):
            server.starttls(context=context)
            server.ehlo()
        elif mail.password:
            raise Undelivered(
                f"{mail.server}:{mail.port} offers no TLS: the password would travel in the clear; use a port with TLS, such as 465",
                again=False,
            )
    except BaseException:
        server.close()
        raise
    return server
