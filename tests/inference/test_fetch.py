"""Downloads against a server on this machine: resumed, through a proxy, refused where the hash is another one."""

import contextlib
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import attrs
import numpy as np
import pytest

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.inference import fetch as fetching

CONTENT = np.random.default_rng(3).bytes(300_000)
ITEM = fetching.Published(
    name="thing",
    file="thing.pt",
    bytes=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    urls=(),
    licence="MIT",
)


class Server(ThreadingHTTPServer):
    """Serves ``content``; keeps what it was asked; breaks off after ``cut`` bytes as often as ``cuts`` says."""

    daemon_threads = True
    # Set on the instance by start().
    content: bytes
    cuts: int
    cut: int
    ranges: bool
    status: int
    says_size: bool
    asked: list[tuple[str, str | None]]

    def start(self):
        self.content, self.cuts, self.cut, self.ranges = CONTENT, 0, 0, True
        self.status, self.says_size, self.asked = 200, True, []
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return self

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/thing.pt"

    def stop(self):
        self.shutdown()
        self.thread.join()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.ranges else 0
        if start >= len(self.server.content) > 0:
            self.send_error(416)
            return
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            whole = len(self.server.content)
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        if self.server.says_size:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        if self.server.cuts:
            self.server.cuts -= 1
            body = body[: self.server.cut]
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)


@pytest.fixture
def server():
    running = Server(("127.0.0.1", 0), Handler).start()
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv(fetching.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def item_at(*urls):
    return attrs.evolve(ITEM, urls=urls)


def test_a_download_lands_in_the_cache_and_is_not_repeated(server, cache):
    seen = []
    path = fetching.fetch(item_at(server.url), lambda have, total: seen.append((have, total)))
    assert path == cache / "thing.pt" == fetching.cached(ITEM)
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert fetching.fetch(item_at(server.url)) == path
    assert len(server.asked) == 1
    assert [file.name for file in cache.iterdir()] == ["thing.pt"]


def test_a_transfer_that_breaks_off_goes_on_in_the_same_call(server):
    server.cuts, server.cut = 2, 100_000
    assert fetching.fetch(item_at(server.url)).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, "bytes=100000-", "bytes=200000-"]


def test_a_later_call_goes_on_where_the_earlier_one_stopped(server, cache):
    server.cuts, server.cut = fetching.ATTEMPTS, 1_000
    with pytest.raises(AopPoseError, match=r"broke off after 4000 of 300000 bytes") as failed:
        fetching.fetch(item_at(server.url))
    assert not isinstance(failed.value, UsageError)
    assert fetching.cached(ITEM) is None
    assert fetching.fetch(item_at(server.url)).read_bytes() == CONTENT
    assert server.asked[-1] == ("/thing.pt", "bytes=4000-")


def test_a_server_without_ranges_starts_over(server, cache):
    cache.mkdir()
    (cache / "thing.pt.part").write_bytes(CONTENT[:5_000])
    server.ranges = False
    assert fetching.fetch(item_at(server.url)).read_bytes() == CONTENT


def test_a_beginning_that_is_another_files_is_dropped(server, cache):
    cache.mkdir()
    (cache / "thing.pt.part").write_bytes(b"x" * 5_000)
    assert fetching.fetch(item_at(server.url)).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == ["bytes=5000-", None]


def test_another_file_is_refused_and_removed(server, cache):
    server.content = bytes(len(CONTENT))
    with pytest.raises(UsageError, match=r"expected sha256 .*, found .*removed"):
        fetching.fetch(item_at(server.url))
    assert list(cache.iterdir()) == []


def test_a_file_of_another_size_is_refused_before_it_is_read(server, cache):
    server.content = b"<html>please log in</html>"
    with pytest.raises(AopPoseError, match="expected 300000 bytes, found text/plain of 26"):
        fetching.fetch(item_at(server.url))
    assert list(cache.iterdir()) == []


def test_a_file_of_unsaid_size_is_not_read_beyond_its_size(server, cache):
    server.content, server.says_size = CONTENT + bytes(20_000_000), False
    with pytest.raises(UsageError, match=r"expected 300000 bytes, found 3\d{5}, removed"):
        fetching.fetch(item_at(server.url))
    assert list(cache.iterdir()) == []


def test_places_are_tried_in_order_and_all_failures_are_told(server):
    gone = Server(("127.0.0.1", 0), Handler).start()
    gone.status = 404
    try:
        assert fetching.fetch(item_at(gone.url, server.url)).read_bytes() == CONTENT
    finally:
        gone.stop()
    fetching.cached(ITEM).unlink()
    server.status = 503
    with pytest.raises(AopPoseError, match=r"refused.*HTTP 503") as failed:
        fetching.fetch(item_at(gone.url, server.url))
    assert "\n" not in str(failed.value)
    assert "weights add thing FILE" in str(failed.value)


def test_a_mirror_takes_the_place_of_the_published_addresses(server, monkeypatch):
    monkeypatch.setenv("AOP_POSE_THING_URL", server.url)
    assert fetching.fetch(item_at("http://127.0.0.1:1/never")).read_bytes() == CONTENT
    monkeypatch.setenv("AOP_POSE_THING_URL", "file:///etc/hostname")
    fetching.cached(ITEM).unlink()
    with pytest.raises(UsageError, match="expected addresses that start with https://"):
        fetching.fetch(ITEM)


def test_a_proxy_of_the_environment_is_asked(server, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    assert fetching.fetch(item_at("http://weights.invalid/thing.pt")).read_bytes() == CONTENT
    # A proxy is asked with the whole address, a server with the path alone.
    assert server.asked == [("http://weights.invalid/thing.pt", None)]


def test_a_corrupt_file_in_the_cache_is_fetched_again(server, cache):
    cache.mkdir()
    (cache / "thing.pt").write_bytes(b"half")
    assert fetching.fetch(item_at(server.url)).read_bytes() == CONTENT


def test_a_file_brought_by_hand_is_checked(tmp_path, cache):
    good, bad = tmp_path / "good.pt", tmp_path / "bad.pt"
    good.write_bytes(CONTENT)
    bad.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(UsageError, match="is not the official thing: expected sha256"):
        fetching.add(ITEM, bad)
    with pytest.raises(UsageError, match="found none at"):
        fetching.add(ITEM, tmp_path / "nowhere.pt")
    assert fetching.cached(ITEM) is None
    assert fetching.add(ITEM, good) == cache / "thing.pt"
    assert fetching.verify(ITEM, cache / "thing.pt").read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written_is_told(tmp_path, monkeypatch, server):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(fetching.CACHE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(AopPoseError, match=f"cannot write to the cache .*set {fetching.CACHE_VARIABLE}"):
        fetching.fetch(item_at(server.url))


def test_the_cache_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv(fetching.CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert fetching.cache_folder() == tmp_path / "aop-pose"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert fetching.cache_folder() == tmp_path / "home" / ".cache" / "aop-pose"


def test_an_unknown_name_is_told_the_known_ones():
    with pytest.raises(UsageError, match="expected one of scribbleprompt, found 'sam'"):
        fetching.published("sam")


def test_the_published_checkpoint_is_the_one_of_the_design():
    item = fetching.published("scribbleprompt")
    assert (item.file, item.bytes) == ("ScribblePrompt_unet_v1_nf192_res128.pt", 15_977_486)
    assert item.sha256 == "43f57ee8fa8ec529c31be281e06749f9e629b30157bbbcc9baf200cddec1acbe"
    assert all(url.startswith("https://") for url in item.urls)
