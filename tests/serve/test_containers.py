"""The files for Docker and KServe, as far as they can be tried without either."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.needs import need
from tests.serve.running import PATIENCE, Server, ids_request

need("serve", modules=("yaml",))

import yaml  # noqa: E402


def commands_of(dockerfile: str) -> dict[str, list[str]]:
    """The commands that an image is made to run, each as its list of words."""
    found = re.findall(r"^.*?\b(ENTRYPOINT|CMD) (\[.*\])$", dockerfile, flags=re.M)
    health, entry, arguments = [json.loads(words) for _, words in found]
    return {"health": health, "run": entry + arguments}


def started(words: list[str], root: Path, **instead: str) -> subprocess.Popen[str]:
    """A container's command, run here: by this Python, with this bundle, at ports that are free."""
    assert words[0] == "/app/bin/pe-deploy"
    given = [instead.get(word, word) for word in words[1:]]
    ports = ["--http-port", "0", "--grpc-port", "0"]
    return subprocess.Popen(
        [sys.executable, "-m", "pe_deploy", *given, *ports],
        cwd=root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_image_serves_is_healthy_and_stops(root: Path) -> None:
    text = (root / "examples" / "serving" / "Dockerfile").read_text()
    commands = commands_of(text)
    assert re.search(r"^USER \d+", text, flags=re.M)
    with started(commands["run"], root, **{"/models/demo": "models/demo"}) as process:
        server = Server(process)
        server.line("Ready")
        port = server.http.rpartition(":")[2]
        python, option, code = commands["health"]
        assert (python, option) == ("/app/bin/python", "-c")
        check = [sys.executable, "-c", code.replace(":8080/", f":{port}/")]
        assert subprocess.run(check, timeout=PATIENCE, check=False).returncode == 0
        assert server.ends() == 0


def test_the_inference_service_asks_for_what_is_there(root: Path) -> None:
    folder = root / "examples" / "serving"
    service: Any = yaml.safe_load((folder / "inference-service.yaml").read_text())
    predictor = service["spec"]["predictor"]
    [container] = predictor["containers"]
    entry = commands_of((folder / "Dockerfile").read_text())["run"][:-1]
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounted) == {volume["name"] for volume in predictor["volumes"]}
    instead = {mounted["bundle"]: "models/demo"}
    with started([*entry, *container["args"]], root, **instead) as process:
        server = Server(process)
        server.line("Ready: digits")
        for probe in ("readinessProbe", "livenessProbe"):
            assert server.ask(container[probe]["httpGet"]["path"]).status == 200
        asked = {"instances": [[0, 16, 8]]}  # KServe asks by the name of the service
        path = f"/v1/models/{service['metadata']['name']}:predict"
        assert server.ask(path, asked).status == 200
        assert server.ask("/v2/models/digits/infer", ids_request([[0, 16, 8]])).status == 200
        assert server.ends() == 0
    demo = sum(path.stat().st_size for path in (root / "models" / "demo").iterdir())
    assert demo < 2**20  # what a ConfigMap holds
