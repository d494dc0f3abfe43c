"""Hub ids: the cache first, one brief question, one clear line. The hub is a server of this test."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from vidaff import VideoSegmenter, hub
from vidaff.depth_estimation import DepthEstimator
from vidaff.errors import VidaffError
from vidaff.hub import ask_hub, hub_folder, is_hub_id

FILES = ("config.json", "model.safetensors")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.chdir(tmp_path)


def serve(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{port}")


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens: what a machine without a network meets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        serve(monkeypatch, free.getsockname()[1])


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A network that swallows everything."""
    monkeypatch.setattr(hub, "TIMEOUT_S", 0.3)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        serve(monkeypatch, listening.getsockname()[1])
        yield


@pytest.fixture
def knows_nothing(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A hub without models; yields the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    serve(monkeypatch, server.server_port)
    yield asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("load", [VideoSegmenter.from_pretrained, DepthEstimator], ids=["checkpoint", "depth model"])
@pytest.mark.parametrize("network", ["closed", "silent"])
def test_without_a_network_the_answer_comes_at_once(load: Any, network: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(network)
    if load is DepthEstimator:
        import transformers  # noqa: F401  (loading it takes seconds of its own)
    start = time.monotonic()
    with pytest.raises(
        VidaffError, match=r"owner/name: .* not in the local cache, and the hub cannot be asked"
    ) as said:
        load("owner/name")
    assert time.monotonic() - start < 10
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("load", [VideoSegmenter.from_pretrained, DepthEstimator], ids=["checkpoint", "depth model"])
def test_a_model_that_the_hub_does_not_know_is_asked_for_once(load: Any, knows_nothing: list[str]) -> None:
    with pytest.raises(VidaffError, match=r"owner/name: .* the hub has no such model"):
        load("owner/name")
    assert knows_nothing == ["/api/models/owner/name"]


@pytest.mark.parametrize("load", [VideoSegmenter.from_pretrained, DepthEstimator], ids=["checkpoint", "depth model"])
@pytest.mark.parametrize("name", ["WRONG", "./owner/name", "a/b/c", "/nonexistent/x", "here/typo", ""])
def test_what_is_no_hub_id_is_never_asked_for(load: Any, name: str, knows_nothing: list[str]) -> None:
    Path("here").mkdir()
    with pytest.raises(VidaffError):
        load(name)
    assert knows_nothing == []


def test_a_cached_copy_is_taken_as_it_is(tmp_path: Path, knows_nothing: list[str]) -> None:
    snapshot = tmp_path / "cache" / "models--owner--name" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    (snapshot / "config.json").write_text("{}")
    with pytest.raises(VidaffError, match="no such model"):  # half of it is not enough
        hub_folder("owner/name", FILES)
    (snapshot / "model.safetensors").write_bytes(b"")
    assert Path(hub_folder("owner/name", FILES)) == snapshot
    assert len(knows_nothing) == 1
    with pytest.raises(VidaffError, match="no such model"):
        hub_folder("owner/name", FILES, force_download=True)


def test_what_is_not_cached_is_asked_for_and_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def download(repo_id: str, *, local_files_only: bool = False, **options: Any) -> str:
        calls.append("cache" if local_files_only else "download")
        if local_files_only:
            raise LocalEntryNotFoundError("nothing")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(hub, "ask_hub", lambda *args, **options: calls.append("question"))
    assert hub_folder("owner/name", FILES) == str(tmp_path)
    assert calls == ["cache", "question", "download"]


def test_hub_ids() -> None:
    Path("runs").mkdir()
    assert is_hub_id("owner/name")
    assert not any(map(is_hub_id, ("name", "runs/best", "./owner/name", "~/name", "/name", "owner/", "a/b/c", "")))


def test_an_impossible_id_is_one_line(knows_nothing: list[str]) -> None:
    with pytest.raises(VidaffError, match="cannot be asked"):
        ask_hub("owner/na me--x")
