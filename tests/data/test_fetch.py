"""A download is announced, whole, and checked; or there is no file. The source is this machine."""

from __future__ import annotations

import hashlib
import http.server
import threading

import pytest

from ddbench.data.fetch import Remote, check_file, fetch
from ddbench.errors import BadRequest, DataDamaged, DataMissing, Offline

CONTENT = bytes(range(256)) * 9000
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


def test_what_is_served_arrives_whole_and_is_announced_first(served, tmp_path):
    place, address = served
    (place / "a.zip").write_bytes(CONTENT)
    told = []
    fetch(Remote(f"{address}a.zip", MD5, len(CONTENT)), tmp_path / "a.zip", offline=False, report=lambda *args: told.append(args))
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert told[0] == (f"downloading {address}a.zip (2 MB)", 0, len(CONTENT))
    assert told[-1][1:] == (len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_offline_asks_nobody(tmp_path):
    with pytest.raises(Offline, match=r"http://127\.0\.0\.1:9/a\.zip \(2 MB\) .* --offline"):
        fetch(Remote("http://127.0.0.1:9/a.zip", MD5, len(CONTENT)), tmp_path / "a.zip", offline=True, report=lambda *_: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/a.zip", "nothing"])
def test_a_source_that_does_not_answer_is_one_sentence(served, tmp_path, address):
    url = address if address.startswith("http") else f"{served[1]}nothing.zip"
    with pytest.raises(DataMissing, match=r"cannot be downloaded \(.+\); get the file elsewhere"):
        fetch(Remote(url, MD5), tmp_path / "a.zip", offline=False, report=lambda *_: None)
    assert not (tmp_path / "a.zip").exists()


def test_only_http_addresses_are_asked(tmp_path):
    with pytest.raises(BadRequest, match="no http address"):
        fetch(Remote("file:///etc/hostname", MD5), tmp_path / "a.zip", offline=False, report=lambda *_: None)


def test_changed_content_leaves_no_file(served, tmp_path):
    place, address = served
    (place / "a.zip").write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(DataDamaged, match=f"gave {len(CONTENT)} bytes whose checksum is wrong"):
        fetch(Remote(f"{address}a.zip", MD5), tmp_path / "a.zip", offline=False, report=lambda *_: None)
    assert [path.name for path in tmp_path.iterdir()] == ["served"]


class _CutShort(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:1000])

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def test_a_connection_that_ends_early_leaves_no_file(tmp_path):
    with http.server.HTTPServer(("127.0.0.1", 0), _CutShort) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        remote = Remote(f"http://127.0.0.1:{server.server_address[1]}/a.zip", MD5)
        with pytest.raises((DataDamaged, DataMissing), match=r"a\.zip"):
            fetch(remote, tmp_path / "a.zip", offline=False, report=lambda *_: None)
        thread.join()
    assert not (tmp_path / "a.zip").exists()


def test_a_file_that_is_already_here_is_checked(tmp_path):
    (tmp_path / "a").write_bytes(CONTENT)
    check_file(tmp_path / "a", MD5)
    (tmp_path / "a").write_bytes(CONTENT[:100])
    with pytest.raises(DataDamaged, match=r"a \(100 bytes\) is cut short or changed"):
        check_file(tmp_path / "a", MD5)
