"""URIs, against an S3 server on loopback: bits, resuming, errors without credentials."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from pe_deploy.scale.places import Place
from tests.needs import need
from tests.scale.tables import ended, files_of, started, write_folder

OFFLINE = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_ACCESS_KEY_ID": "id-of-a-user",
    "AWS_SECRET_ACCESS_KEY": "secret-of-a-user",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of an S3 server with a bucket `data`."""
    need("moto", "flask")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **OFFLINE},
    ) as process:
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.1)
        client(f"127.0.0.1:{port}").create_dir("data")
        yield f"127.0.0.1:{port}"
        process.terminate()


def client(server: str) -> fs.FileSystem:
    return fs.S3FileSystem(
        access_key="a",
        secret_key="b",
        endpoint_override=server,
        scheme="http",
        region="us-east-1",
        allow_bucket_creation=True,
    )


def uri(server: str, path: str, user: str = "") -> str:
    return f"s3://{user}{path}?endpoint_override={server}&scheme=http&region=us-east-1"


def test_a_folder_of_a_bucket(tmp_path: Path, notebook_bundle: Path, server: str) -> None:
    write_folder(tmp_path / "in", rows=40)
    s3 = client(server)
    fs.copy_files(str(tmp_path / "in"), "data/in", destination_filesystem=s3)
    with s3.open_output_stream("data/in/bad.csv") as file:
        file.write(b"input_ids\n1 2 3\n1 99 3\n")
    there, to = uri(server, "data/in"), uri(server, "data/out")
    assert ended(started(f"predict {notebook_bundle} in -o local", tmp_path))[0] == 0
    command = f"predict {notebook_bundle} '{there}' -o '{to}' --jobs 2"
    code, out, err = ended(started(command, tmp_path, **OFFLINE))
    assert (code, err) == (
        1,
        "pe-deploy: s3://data/in/bad.csv: row 2: column 1 has id 99; allowed: 0 to 11\n",
    )
    assert out.startswith("6 files, 240 rows, 1 failed in ")
    assert out.endswith(" → s3://data/out\n")
    fs.copy_files("data/out", str(tmp_path / "out"), source_filesystem=s3)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "local")
    s3.delete_file("data/in/bad.csv")
    s3.delete_file("data/out/day=2026-01-01/part-0.parquet")
    code, out, err = ended(started(command, tmp_path, **OFFLINE))
    assert (code, err, "1 file, 40 rows, 5 kept in" in out) == (0, "", True)
    code, out, err = ended(started(f"{command} --threshold 0.9", tmp_path, **OFFLINE))
    assert (code, "s3://data/out holds answers with threshold 0.5" in err) == (1, True)


def test_one_file(
    run: Callable[..., Any],
    tmp_path: Path,
    notebook_bundle: Path,
    server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "a.csv").write_text("input_ids\n1 2 3\n4 5 6\n")
    remote = uri(server, "data/one/a.csv")
    assert run("predict", notebook_bundle, "a.csv", "-o", "local.csv").code == 0
    with client(server).open_output_stream("data/one/a.csv") as file:
        file.write((tmp_path / "a.csv").read_bytes())
    assert run("predict", notebook_bundle, remote, "-o", "back.csv").code == 0
    done = run("predict", notebook_bundle, "a.csv", "-o", uri(server, "data/one/b.csv"))
    assert (done.code, done.out.endswith(" → s3://data/one/b.csv\n")) == (0, True)
    expected = (tmp_path / "local.csv").read_bytes()
    assert (tmp_path / "back.csv").read_bytes() == expected
    with client(server).open_input_stream("data/one/b.csv") as file:
        assert file.read() == expected
    url = (tmp_path / "a.csv").as_uri()
    assert run("predict", notebook_bundle, url, "-o", (tmp_path / "u.csv").as_uri()).code == 0
    assert (tmp_path / "u.csv").read_bytes() == expected


def test_names_that_are_none_of_a_uri_mean_themselves(
    tmp_path: Path, notebook_bundle: Path, server: str
) -> None:
    """As Hive and Spark write them into partitions: `time=10%3A30`."""
    s3 = client(server)
    rows = {"a b.csv": "1 2", "a%20b.csv": "3", "t=10%3A30/ü#1.csv": "4", "50%?[x].csv": "5"}
    for name, ids in rows.items():
        with s3.open_output_stream(f"data/odd/{name}") as file:
            file.write(f"input_ids\n{ids}\n".encode())
    there, to = uri(server, "data/odd"), uri(server, "data/odd-answers")
    done = ended(started(f"predict {notebook_bundle} '{there}' -o '{to}'", tmp_path, **OFFLINE))
    assert (done[0], done[2]) == (0, "")
    for name, ids in rows.items():
        with s3.open_input_stream(f"data/odd-answers/{name}") as file:
            assert file.read().decode().splitlines()[1].startswith(f"{ids},"), name


def test_errors_are_one_line_and_tell_no_secret(
    run: Callable[..., Any],
    tmp_path: Path,
    notebook_bundle: Path,
    server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "a.csv").write_text("input_ids\n1 2 3\n")
    user = "key-of-mine:secret%2Fof-mine@"
    for source, output in [
        (uri(server, "nobucket/in", user), "out"),
        (uri(server, "data/nothing.csv", user), "out.csv"),
        ("a.csv", uri(server, "nobucket/a.csv", user)),
        ("gopher://somewhere/a.csv", "out.csv"),
        ("s3://", "out.csv"),
        (uri("127.0.0.1:1", "data/in", user), "out"),
    ]:
        done = run("predict", notebook_bundle, source, "-o", output)
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1), done
        assert "Traceback" not in done.err
        assert "of-mine" not in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_where_a_file_shows_while_it_is_written_another_takes_its_place_whole(
    tmp_path: Path,
) -> None:
    """As on HDFS; the file system of this machine shows what is written likewise."""
    place = Place("hdfs://somewhere/a/b.csv")
    place._system, place._path = fs.LocalFileSystem(), str(tmp_path / "a" / "b.csv")
    with place.written() as path:
        path.write_bytes(b"whole")
    assert place.read_bytes() == b"whole"
    with pytest.raises(RuntimeError), place.written() as path:
        path.write_bytes(b"half")
        raise RuntimeError
    assert place.read_bytes() == b"whole"
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.csv"]
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
