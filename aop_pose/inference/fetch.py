"""Weights that others publish: downloaded or added by hand, checked against their hash, kept in the user's cache."""

from __future__ import annotations

import http.client
import os
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.io.files import replacing
from aop_pose.provenance import sha256_of

CACHE_VARIABLE = "AOP_POSE_CACHE"
TIMEOUT = 30.0
"""Seconds without a byte after which a place is given up."""
ATTEMPTS = 4
"""Number of times that one place is asked to go on where a transfer broke off."""
_BLOCK = 1 << 16

Progress = Callable[[int, int], None]
"""Called with the bytes at hand and the bytes in all."""


@attrs.frozen
class Published:
    """A file of somebody else's and how to know it."""

    name: str
    file: str
    bytes: int
    sha256: str
    urls: tuple[str, ...]
    """Addresses where it is published, in the order in which they are tried."""
    licence: str

    @property
    def variable(self) -> str:
        """Environment variable with other addresses (a mirror), separated by spaces."""
        return f"AOP_POSE_{self.name.upper()}_URL"


SCRIBBLEPROMPT = Published(
    name="scribbleprompt",
    file="ScribblePrompt_unet_v1_nf192_res128.pt",
    bytes=15_977_486,
    sha256="43f57ee8fa8ec529c31be281e06749f9e629b30157bbbcc9baf200cddec1acbe",
    urls=(
        "https://www.dropbox.com/scl/fi/pnw88n05irnv5z1snlklr/ScribblePrompt_unet_v1_nf192_res128.pt"
        "?rlkey=dr8xvkf0wj2r082h1zzpcmz5o&dl=1",
        "https://huggingface.co/spaces/halleewong/ScribblePrompt/resolve/main/checkpoints/"
        "ScribblePrompt_unet_v1_nf192_res128.pt",
    ),
    licence="Apache-2.0",
)
PUBLISHED = {item.name: item for item in (SCRIBBLEPROMPT,)}


def published(name: str) -> Published:
    """The entry of a name; UsageError names the known ones."""
    if name not in PUBLISHED:
        raise UsageError(f"weights: expected one of {', '.join(PUBLISHED)}, found {name!r}")
    return PUBLISHED[name]


def cache_folder() -> Path:
    """``$AOP_POSE_CACHE``, else ``$XDG_CACHE_HOME/aop-pose``, else ``~/.cache/aop-pose``."""
    if own := os.environ.get(CACHE_VARIABLE):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "aop-pose"


def cached(item: Published) -> Path | None:
    """The file in the cache, or None. Its hash is checked by whoever loads it (:func:`verify`)."""
    path = cache_folder() / item.file
    return path if path.is_file() else None


def verify(item: Published, path: Path) -> Path:
    """The path, where its content is that of ``item``; UsageError says what was found."""
    wrong = _difference(item, path)
    if wrong:
        raise UsageError(f"{path} is not the official {item.name}: {wrong}; run aop-pose weights fetch {item.name}")
    return path


def add(item: Published, file: Path) -> Path:
    """Copy a file that was brought by hand into the cache; UsageError where it is another one."""
    if not file.is_file():
        raise UsageError(f"expected the file {item.file}, found none at {file}")
    wrong = _difference(item, file)
    if wrong:
        raise UsageError(f"{file} is not the official {item.name}: {wrong}; download it anew")
    target = cache_folder() / item.file
    with _told(f"cannot write to the cache {target.parent}"), replacing(target) as part:
        shutil.copyfile(file, part)
    return target


def fetch(item: Published, progress: Progress | None = None) -> Path:
    """The file in the cache, downloaded where it is not there yet; its hash is right when this returns.

    A download that broke off goes on where it stopped (HTTP Range), in this call or in a later one. Proxies are those
    of the environment (``https_proxy``, ``no_proxy``). AopPoseError names each place that failed and why; UsageError
    where what came is not the official file (it is removed) or an address is none.
    """
    target = cache_folder() / item.file
    if target.is_file() and not _difference(item, target):
        return target
    addresses = os.environ.get(item.variable, "").split() or list(item.urls)
    _check_addresses(item, addresses)
    with _told(f"cannot write to the cache {target.parent}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        _from_first_that_works(item, addresses, part, progress or (lambda have, total: None))
        os.replace(part, target)
    return target


class _told:
    """Turns an OSError of the file system into one line."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise AopPoseError(f"{self.what}: {reason}; set {CACHE_VARIABLE} to another folder") from error


class _TransferError(Exception):
    """One place did not give the file; the message says why."""


def _check_addresses(item: Published, addresses: Sequence[str]) -> None:
    for address in addresses:
        if not address.startswith(("http://", "https://")):
            raise UsageError(f"{item.variable}: expected addresses that start with https://, found {address!r}")


def _from_first_that_works(item: Published, addresses: Sequence[str], part: Path, progress: Progress) -> None:
    failures, foreign = [], False
    for address in addresses:
        # Once more from the start where a resumed file came out wrong: its beginning may be another file's.
        for resumed in (part.exists(), False):
            try:
                _transfer(item, address, part, progress)
            except _TransferError as error:
                failures.append(f"{_place(address)}: {error}")
                break
            wrong = _difference(item, part)
            if not wrong:
                return
            part.unlink()
            if not resumed:
                foreign = True
                failures.append(f"{_place(address)}: {wrong}, removed")
                break
    how = f"bring the file and run aop-pose weights add {item.name} FILE, or set {item.variable} to a mirror"
    raise (UsageError if foreign else AopPoseError)(f"{item.name} could not be fetched: {'; '.join(failures)}; {how}")


def _transfer(item: Published, address: str, part: Path, progress: Progress) -> None:
    """Bring ``part`` to its full length, asking again where the connection breaks off."""
    # An opener of our own: urllib's shared one keeps the proxies of the first call.
    opener = urllib.request.build_opener()
    for attempt in range(ATTEMPTS):
        before = part.stat().st_size if part.exists() else 0
        if before >= item.bytes:
            return
        request = urllib.request.Request(address, headers={"User-Agent": "aop-pose"})
        if before:
            request.add_header("Range", f"bytes={before}-")
        try:
            with opener.open(request, timeout=TIMEOUT) as response:
                _receive(item, response, part, before, progress)
        except urllib.error.HTTPError as error:
            if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise _TransferError(f"HTTP {error.code} {error.reason}") from error
            part.unlink(missing_ok=True)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", None) or error
            broke_off = part.exists() and part.stat().st_size > before
            if not broke_off or attempt == ATTEMPTS - 1:
                raise _TransferError(" ".join(str(reason).split()) or type(error).__name__) from error
    have = part.stat().st_size if part.exists() else 0
    if have < item.bytes:
        raise _TransferError(f"broke off after {have} of {item.bytes} bytes; the same command goes on from there")


def _receive(item: Published, response: Any, part: Path, before: int, progress: Progress) -> None:
    continues = response.status == http.HTTPStatus.PARTIAL_CONTENT
    have = before if continues else 0
    announced = response.headers.get("Content-Length", "")
    if announced.isdigit() and have + int(announced) != item.bytes:
        kind = response.headers.get_content_type()
        raise _TransferError(f"expected {item.bytes} bytes, found {kind} of {have + int(announced)}")
    with open(part, "ab" if continues else "wb") as stream:
        # One byte too many is enough to know that this is another file.
        while have <= item.bytes and (block := response.read(_BLOCK)):
            stream.write(block)
            have += len(block)
            progress(min(have, item.bytes), item.bytes)


def _place(address: str) -> str:
    return urllib.parse.urlsplit(address).netloc


def _difference(item: Published, path: Path) -> str:
    """The difference of a file from the published one; empty where there is none."""
    size = path.stat().st_size
    if size != item.bytes:
        return f"expected {item.bytes} bytes, found {size}"
    found = sha256_of(path)
    return "" if found == item.sha256 else f"expected sha256 {item.sha256[:12]}…, found {found[:12]}…"
