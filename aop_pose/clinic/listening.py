"""A DICOM node that receives: C-ECHO and C-STORE, from this machine alone unless told otherwise."""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from aop_pose.errors import UsageError
from aop_pose.io.clinic.dicom import INSTALL
from aop_pose.io.clinic.study import SALT, Salt
from aop_pose.io.files import remove_leftovers, replacing

INCOMING, MEASURED = "incoming", "results"
"""Folders in ``--out``: files as they came, for their owner alone, and the run over them."""
PORT, TITLE = 11112, "AOPPOSE"
_VERIFICATION = "1.2.840.10008.1.1"
_IMAGES = (
    "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1", "1.2.840.10008.5.1.4.1.1.6",
    "1.2.840.10008.5.1.4.1.1.3", "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.2",
    "1.2.840.10008.5.1.4.1.1.7.4",
)  # fmt: skip
"""Ultrasound and secondary captures, single and multi-frame, the retired ultrasound classes among them."""
_SYNTAXES = [
    "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5",
    *(f"1.2.840.10008.1.2.4.{end}" for end in (50, 51, 57, 70, 80, 81, 90, 91)),
]  # fmt: skip
_SUCCESS, _NO_ROOM, _NOT_UNDERSTOOD = 0x0000, 0xA700, 0xC000

logging.getLogger("pynetdicom").addHandler(logging.NullHandler())


def is_loopback(host: str) -> bool:
    """True for an address that only this machine reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@attrs.frozen
class Listener:
    """A node: where it listens, by which name it is called, and who may call it."""

    out: Path
    host: str = "127.0.0.1"
    port: int = PORT
    title: str = TITLE
    callers: Sequence[str] = ()
    """AE titles that may send; none = any."""
    on_file: Callable[[str], None] = lambda name: None
    """Is told the name of each file that was stored."""

    def __attrs_post_init__(self) -> None:
        for title in (self.title, *self.callers):
            plain = title.isascii() and title.isprintable() and "\\" not in title
            if not (plain and title.strip() and len(title) <= 16):
                raise UsageError(f"expected an AE title of 1 to 16 characters, found {title!r}")

    @property
    def incoming(self) -> Path:
        return self.out / INCOMING

    @contextmanager
    def serving(self) -> Iterator[int]:
        """Receive while the block runs; gives the port. UsageError where it is taken, or pynetdicom is missing."""
        try:
            from pynetdicom import AE, evt
        except ImportError:
            raise UsageError(f"nothing can be received; {INSTALL}") from None
        self.incoming.mkdir(parents=True, exist_ok=True)
        os.chmod(self.incoming, 0o700)
        remove_leftovers(self.incoming)
        salt = Salt.of(self.out / MEASURED)
        if not (self.out / MEASURED / SALT).is_file():
            salt.keep(self.out / MEASURED)
        node: Any = AE(ae_title=self.title)
        node.require_called_aet = True
        node.require_calling_aet = list(self.callers)
        node.add_supported_context(_VERIFICATION)
        for kind in _IMAGES:
            node.add_supported_context(kind, _SYNTAXES)
        handlers = [(evt.EVT_C_ECHO, lambda event: _SUCCESS), (evt.EVT_C_STORE, lambda event: self._store(event, salt))]
        try:
            server = node.start_server((self.host, self.port), block=False, evt_handlers=handlers)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise UsageError(f"--port: {self.port} is taken by another program; give another one") from None
            raise UsageError(f"--host: cannot listen on {self.host}:{self.port}: {error.strerror}") from None
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()

    def _store(self, event: Any, salt: Salt) -> int:
        """Keep a file as it came, under a name that says nothing; the status of the answer."""
        try:
            name = salt.name(str(event.request.AffectedSOPInstanceUID))
            with replacing(self.incoming / f"{name}.dcm") as part:
                part.write_bytes(event.encoded_dataset())
                os.chmod(part, 0o600)
        except OSError:
            return _NO_ROOM
        except Exception:
            return _NOT_UNDERSTOOD
        self.on_file(name)
        return _SUCCESS
