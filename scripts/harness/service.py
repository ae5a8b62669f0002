"""The systemd unit of docs/examples, and its restrictions for a program where no systemd runs.

What can be had without systemd: the user without rights, the file system with its few writable places, the filter of
system calls and address families, the credentials and the environment. Devices, addresses and memory are bounded by
control groups, which only systemd sets up.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "docs" / "examples" / "systemd" / "agfn-live.service"
NOBODY = 61184
"""The first number that systemd gives to a user who exists while a service runs."""
HIDDEN = ("/home", "/root", "/tmp", "/var/tmp")  # noqa: S108 - what ProtectHome and PrivateTmp cover
LAUNCH = """
import ctypes, json, os, socket, sys
wanted = json.loads(sys.argv[1])
os.umask(int(wanted["umask"], 8))
os.setgroups([])
os.setresgid(*[wanted["user"]] * 3)
os.setresuid(*[wanted["user"]] * 3)
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
library = ctypes.CDLL("libseccomp.so.2")
library.seccomp_init.restype = ctypes.c_void_p
class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]
library.seccomp_rule_add_array.argtypes = [
    ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(Compare)
]
library.seccomp_load.argtypes = [ctypes.c_void_p]
context = library.seccomp_init(0x00050000 | 1)  # SCMP_ACT_ERRNO(EPERM)
families = (Compare * 1)
for name in wanted["calls"]:
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number < 0:
        continue  # of another kind of machine
    if name == "socket":
        for family in wanted["families"]:
            rule = families(Compare(0, 4, getattr(socket, family), 0))  # SCMP_CMP_EQ
            assert library.seccomp_rule_add_array(context, 0x7FFF0000, number, 1, rule) == 0
    else:
        assert library.seccomp_rule_add_array(context, 0x7FFF0000, number, 0, None) == 0
assert library.seccomp_load(context) == 0
os.execv(wanted["command"][0], wanted["command"])
"""


@dataclass(frozen=True)
class Service:
    """What a unit file says of its service: every key with its values in their order."""

    values: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(cls, path: Path = UNIT) -> Service:
        """Read the section [Service]."""
        section = path.read_text(encoding="utf-8").partition("[Service]\n")[2].partition("\n[")[0]
        found: dict[str, tuple[str, ...]] = {}
        for line in section.splitlines():
            if line and not line.startswith("#"):
                key, _, value = line.partition("=")
                found[key] = (*found.get(key, ()), value)
        return cls(found)

    def one(self, key: str) -> str:
        """Return the only value of a key."""
        (value,) = self.values[key]
        return value

    def expanded(self, text: str, places: Mapping[str, Path]) -> str:
        """Put the places of systemd (%d, %S, %t) into a text."""
        for specifier, place in places.items():
            text = text.replace(specifier, str(place))
        return text.replace("${CREDENTIALS_DIRECTORY}", str(places["%d"]))

    def environment(self, places: Mapping[str, Path]) -> dict[str, str]:
        """Return the variables that the unit sets."""
        pairs = " ".join(self.values["Environment"]).split()
        return dict(self.expanded(pair, places).split("=", 1) for pair in pairs)

    def calls(self) -> list[str]:
        """Return the names of the system calls that are let through, as this machine's systemd knows the sets."""
        said = subprocess.run(
            ["systemd-analyze", "syscall-filter", "--no-pager"], capture_output=True, text=True, check=True
        ).stdout
        sets: dict[str, list[str]] = {}
        for line in re.sub(r"\x1b\[[0-9;]*m", "", said).splitlines():
            if line.startswith("@"):
                name = line.split()[0]
            elif (entry := line.strip()) and not entry.startswith("#"):
                sets.setdefault(name, []).append(entry)
        allowed: set[str] = set()
        for value in self.values["SystemCallFilter"]:
            named = {call for name in value.removeprefix("~").split() for call in _flat(sets, name)}
            allowed = allowed - named if value.startswith("~") else allowed | named
        return sorted(allowed | set(_flat(sets, "@default")))


def _flat(sets: Mapping[str, Sequence[str]], name: str) -> list[str]:
    if not name.startswith("@"):
        return [name]
    return [call for inner in sets.get(name, ()) for call in _flat(sets, inner)]


def _shown(places: Sequence[Path | str]) -> list[str]:
    """Show what lies in a folder that the service does not see, which elsewhere it would not."""
    words: list[str] = []
    for at in (Path(place).resolve() for place in places):
        if {Path(hidden) for hidden in HIDDEN} & set(at.parents):
            for above in reversed(at.parents[:-2]):
                words += ["--perms", "0755", "--dir", str(above)]
            words += ["--ro-bind", str(at), str(at)]
    return words


def confined(
    service: Service,
    command: Sequence[str],
    place: Path,
    cache: Path,
    credentials: Mapping[str, str],
    shown: Sequence[Path] = (),
) -> list[str]:
    """Return the command that runs another within the restrictions; needs root, bwrap and libseccomp.

    Args:
        service: the restrictions.
        command: the program with its arguments, its executable by a full path.
        place: a folder for what the service writes and for its credentials.
        cache: where the models lie, which the service reads, and the graphs made of them, of which it gets a copy.
        credentials: content of each by its name.
        shown: other files that the command reads.
    """
    places = {"%d": Path("/run/credentials"), "%S": Path("/var/lib"), "%t": Path("/run")}
    mounts: list[str] = []
    for name, at in (("StateDirectory", places["%S"]), ("RuntimeDirectory", places["%t"])):
        mine, inside = place / name, at / service.one(name)
        mine.mkdir(mode=int(service.one(f"{name}Mode"), 8))
        os.chown(mine, NOBODY, NOBODY)
        mounts += ["--bind", str(mine), str(inside)]
    secrets = place / "credentials"
    secrets.mkdir(mode=0o500)
    for name, content in credentials.items():
        (secrets / name).write_text(content, encoding="utf-8")
        (secrets / name).chmod(0o400)
        os.chown(secrets / name, NOBODY, NOBODY)
    os.chown(secrets, NOBODY, NOBODY)
    state = place / "StateDirectory"
    (state / "models").mkdir()
    if (cache / "graphs").is_dir():  # or it makes them, which takes half a minute
        shutil.copytree(cache / "graphs", state / "graphs")
        for at in (state / "graphs", *(state / "graphs").rglob("*")):
            os.chown(at, NOBODY, NOBODY)
    wanted = {
        "user": NOBODY,
        "umask": service.one("UMask"),
        "families": service.one("RestrictAddressFamilies").split(),
        "calls": service.calls(),
        "command": list(command),
    }
    settings = [["--setenv", *pair] for pair in service.environment(places).items()]
    return [
        *(
            "bwrap",
            "--ro-bind",
            "/",
            "/",
            "--die-with-parent",
            "--new-session",
            "--unshare-ipc",
            "--unshare-pid",
            "--dev",
            "/dev",
        ),
        *("--proc", "/proc", "--tmpfs", "/run", "--tmpfs", "/var/lib"),
        *(word for at in HIDDEN for word in ("--perms", "1777" if "tmp" in at else "0755", "--tmpfs", at)),
        *_shown([sys.base_prefix, sys.prefix, ROOT, *shown]),
        *("--clearenv", "--setenv", "PATH", os.environ["PATH"], "--setenv", "PYTHONPATH", str(ROOT), "--chdir", "/"),
        *mounts,
        *("--ro-bind", str(secrets), str(places["%d"])),
        *("--ro-bind", str(cache / "models"), str(places["%S"] / service.one("StateDirectory") / "models")),
        *(word for setting in settings for word in setting),
        *("--", sys.executable, "-c", LAUNCH, json.dumps(wanted)),
    ]
