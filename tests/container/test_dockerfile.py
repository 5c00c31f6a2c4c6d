"""The Dockerfile and the commands of its page; with `make container` they are really run."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from .dockerfile import Image, instructions

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
STEPS = instructions(TEXT)
VOLUMES = ["/photos", "/index", "/state"]


def docker_commands(page: str) -> list[list[str]]:
    """The words of each line of a page that runs Docker."""
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    return [shlex.split(line) for line in re.findall(r"^ {4}(docker .*)$", text, re.MULTILINE)]


def of_lrcr(command: list[str]) -> list[str]:
    """What a command that runs the image gives to `lrcr`."""
    return command[command.index("lrcr") + 1 :]


def test_instructions_are_joined_lines_without_comments():
    text = "# no\nFROM a\nRUN b && \\\n    c\n\n# no\nENV D=e F=g\n"
    assert instructions(text) == [("FROM", "a"), ("RUN", "b && c"), ("ENV", "D=e F=g")]


def test_the_image_is_not_run_by_root_and_has_volumes():
    last = dict(STEPS)
    assert last["USER"] == "1000:1000" and last["ENTRYPOINT"] == '["lrcr"]'
    assert [volume for volume in VOLUMES if f'"{volume}"' in last["VOLUME"]] == VOLUMES
    assert last["ENV"] == "HOME=/state LRCR_STATE=/state/lrcr NUMBA_CACHE_DIR=/state/numba"


def test_the_context_has_what_is_copied_and_no_more():
    copied = {source for name, rest in STEPS if name == "COPY" for source in rest.split()[:-1]}
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert ignored[0] == "*" and {line[1:] for line in ignored if line.startswith("!")} == copied
    assert all((ROOT / source).exists() for source in copied)


def test_no_host_is_named():
    """Packages come from where the builder's pip and uv are told to look."""
    assert not re.findall(r"://|\b[\w-]+\.(?:org|com|io|dev)\b", TEXT)


@pytest.mark.parametrize(("device", "kept"), [("cpu", False), ("cuda", True)])
def test_packages_of_cuda_are_left_out_for_the_cpu(tmp_path, device, kept):
    """The step is run with a command `uv` that shows what it would install."""
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    (tmp_path / "uv").write_text('#!/bin/sh\necho "$@" > called\n')
    (tmp_path / "uv").chmod(0o755)
    [step] = [rest.partition(" ")[2] for name, rest in STEPS if name == "RUN" and "DEVICE" in rest]
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "DEVICE": device}
    subprocess.run(["/bin/sh", "-euc", step], cwd=tmp_path, env=environment, check=True)
    pins = {re.split("[= ]", line)[0] for line in (tmp_path / "requirements.lock").read_text().splitlines()}
    whole = {re.split("[= ]", line)[0] for line in (ROOT / "requirements.lock").read_text().splitlines()}
    of_cuda = {name for name in whole if name.startswith(("cuda", "nvidia-", "triton"))} - {"nvidia-ml-py"}
    assert len(of_cuda) > 15
    assert pins == (whole if kept else whole - of_cuda - {"faiss-gpu"})
    assert ("--torch-backend cpu" in (tmp_path / "called").read_text()) != kept
    wrong = {**environment, "DEVICE": "tpu"}
    done = subprocess.run(["/bin/sh", "-euc", step], cwd=tmp_path, env=wrong, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "DEVICE=tpu: unknown; choose cpu or cuda\n")


def test_the_page_runs_it_with_a_read_only_root_and_the_volumes():
    explained = docker_commands("docs/container.md")
    assert [command[1] for command in explained] == ["build", "run", "run", "build", "run"]
    assert of_lrcr(explained[1]) == ["index", "/photos", "-o", "/index/my.index"]
    for command in explained:
        if command[1] == "run":
            assert {"--read-only", "--tmpfs"} <= set(command)
            mounted = [command[place + 1] for place, word in enumerate(command) if word == "-v"]
            assert [mount.split(":")[1] for mount in mounted] == VOLUMES


@pytest.fixture
def volumes(tmp_path, rendered):
    """Folders for the volumes: photos with a query, and two that any user may write."""
    if "LRCR_CONTAINER" not in os.environ:
        pytest.skip("LRCR_CONTAINER is not set: `make container` sets it")
    shutil.copytree(rendered / "photos", tmp_path / "photos")
    shutil.copy(next((tmp_path / "photos/church").glob("*.jpg")), tmp_path / "photos/query.jpg")
    for folder in ("index", "state"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder).chmod(0o777)
    return {"/photos:ro": tmp_path / "photos", "/index": tmp_path / "index", "/state": tmp_path / "state"}


@pytest.fixture
def run(tmp_path, volumes):
    """Runs a command of lrcr in the image, which is built with Docker, or else in a folder."""
    if shutil.which("docker") and not subprocess.run(["docker", "info"], capture_output=True).returncode:
        subprocess.run(["docker", "build", "-t", "lrcr", "."], cwd=ROOT, check=True)
        mounts = [word for name, source in volumes.items() for word in ("-v", f"{source}:{name}")]
        command = ["docker", "run", "--rm", "--read-only", "--tmpfs", "/tmp", *mounts, "lrcr"]
        return lambda *arguments: subprocess.run([*command, *arguments], capture_output=True, text=True)
    image = Image(tmp_path / "root", ROOT, {"DEVICE": "cuda"})
    done = in_namespace(image.build(TEXT))
    assert done.returncode == 0, done.stdout + done.stderr
    return lambda *arguments: in_namespace(image.run(arguments, volumes))


def in_namespace(script: str) -> subprocess.CompletedProcess:
    """Run a script that mounts; nothing stays mounted."""
    own = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "LRCR_STATE", "NUMBA_CACHE_DIR")
    given = {name: value for name, value in os.environ.items() if name not in own}
    given |= {"UV_LINK_MODE": "symlink", "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    return subprocess.run(["unshare", "--mount", "bash", "-c", script], env=given, capture_output=True, text=True)


@pytest.mark.container
def test_the_commands_of_the_page_work(run, tmp_path):
    index, search = (of_lrcr(command) for command in docker_commands("docs/container.md")[1:3])
    done = run(*index)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.stat().st_uid for path in (tmp_path / "index/my.index").rglob("*")} == {1000}
    done = run(*search)
    assert done.returncode == 0 and "church/" in done.stdout, done.stdout + done.stderr
    assert any((tmp_path / "state/numba").iterdir()), "compiled code is kept"
    for place in ("/photos", "/app"):
        done = run("index", "/photos", "-o", f"{place}/other.index")
        assert done.returncode != 0 and not (tmp_path / "photos/other.index").exists()
