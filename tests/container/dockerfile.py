"""A Dockerfile's steps as scripts, for machines without a builder: a folder becomes the root of the file system.

Each script makes the mounts that it needs, in a mount namespace of its own. System folders and Python are those of this
machine, read-only.
"""

import json
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

SYSTEM = ("usr", "bin", "sbin", "lib", "lib64", "opt")
CACHE = Path.home() / ".cache/uv"

_COPY_SETTINGS = """if [ ! -e "$ROOT/etc" ]; then
    cp -a /etc "$ROOT/etc"
    sed -i /:1000:/d "$ROOT/etc/passwd" "$ROOT/etc/group"
fi"""
"""Without a user 1000 of this machine."""


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile and their arguments."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines)
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


@dataclass
class Image:
    """An image that is made in a folder.

    Args:
        root: the folder.
        context: folder of the sources.
        arguments: of the build.
    """

    root: Path
    context: Path
    arguments: dict[str, str]
    exports: list[str] = field(default_factory=list)
    folder: str = "/"
    user: str = "0:0"
    entry: list[str] = field(default_factory=list)

    def build(self, text: str) -> str:
        """The script that builds a Dockerfile."""
        steps = [*self._mounts(read_only=False)]
        for name, rest in instructions(text):
            steps += getattr(self, f"_{name.lower()}")(rest)
        return "\n".join(steps)

    def run(self, arguments: Sequence[str], volumes: dict[str, Path]) -> str:
        """The script that runs the image with a read-only root; a volume whose name ends with `:ro` is read-only."""
        mounts = ['mount -t tmpfs tmpfs "$ROOT/tmp"']
        for name, source in volumes.items():
            target, _, mode = name.partition(":")
            mounts += self._bind(str(source), target, mode == "ro")
        command = shlex.join([*self.entry, *arguments])
        return "\n".join([*self._mounts(read_only=True), *mounts, self._inside(command)])

    def _mounts(self, *, read_only: bool) -> list[str]:
        root = shlex.quote(str(self.root))
        folders = " ".join(f'"$ROOT/{name}"' for name in ("dev", "proc", "tmp", "root/.cache/uv", sys.base_prefix[1:]))
        steps = ["set -eu", f"ROOT={root}", f"mkdir -p {folders}", _COPY_SETTINGS]
        binds = []
        for name in SYSTEM:
            if Path("/", name).is_symlink():
                steps.append(f'[ -e "$ROOT/{name}" ] || cp -P /{name} "$ROOT/{name}"')
            elif Path("/", name).exists():
                steps.append(f'mkdir -p "$ROOT/{name}"')
                binds += self._bind(f"/{name}", f"/{name}", True)
        for place in ("/usr/local", sys.base_prefix):  # its library is looked for where it was built
            binds += self._bind(sys.base_prefix, place, True)
        binds += self._bind(str(CACHE), "/root/.cache/uv", read_only)
        whole = ['mount --bind "$ROOT" "$ROOT"', 'mount -o remount,bind,ro "$ROOT"'] if read_only else []
        kernel = [f'mount --rbind /{name} "$ROOT/{name}"' for name in ("dev", "proc")]
        return [*steps, *whole, *kernel, *binds]

    def _bind(self, source: str, target: str, read_only: bool) -> list[str]:
        mount = f'mount --bind {shlex.quote(source)} "$ROOT{target}"'
        return [mount, f'mount -o remount,bind,ro "$ROOT{target}"'] if read_only else [mount]

    def _inside(self, command: str) -> str:
        within = "\n".join([*self.exports, f"cd {self.folder}", command])
        return f'chroot --userspec={self.user} "$ROOT" /bin/sh -euc {shlex.quote(within)}'

    def _from(self, rest: str) -> list[str]:
        return []

    def _volume(self, rest: str) -> list[str]:
        return []

    def _arg(self, rest: str) -> list[str]:
        name, _, default = rest.partition("=")
        self.exports.append(f"export {name}={shlex.quote(self.arguments.get(name, default))}")
        return []

    def _env(self, rest: str) -> list[str]:
        self.exports.append(f"export {rest}")
        return []

    def _workdir(self, rest: str) -> list[str]:
        self.folder = rest
        return [f'mkdir -p "$ROOT{rest}"']

    def _user(self, rest: str) -> list[str]:
        self.user = rest
        return []

    def _entrypoint(self, rest: str) -> list[str]:
        self.entry = json.loads(rest)
        return []

    def _copy(self, rest: str) -> list[str]:
        *sources, target = rest.split()
        found = " ".join(shlex.quote(str(self.context / source)) for source in sources)
        return [f'cp -r {found} "$ROOT{self.folder}/{target}"']

    def _run(self, rest: str) -> list[str]:
        return [self._inside(re.sub(r"--mount=\S+ *", "", rest))]
