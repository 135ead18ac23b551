"""Working on a directory as its owner, for commands that root types.

A daemon that runs without rights must be able to open every file of its state directory, and a
file that root made there it cannot. So root takes on the owner's identity before the first file is
made. What root may look into or write it still may: the way to a `DynamicUser=` directory leads
through one that only root passes. It decides nothing about who may run what.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from tickd.errors import Action, TickdError

__all__ = ["act_as_owner", "give_to_owner"]

_DAC_OVERRIDE: Final = 1
_DAC_READ_SEARCH: Final = 2
# From the kernel's capability.h and prctl.h.
_VERSION_3: Final = 0x20080522
_PR_SET_KEEPCAPS: Final = 8
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    """`__user_cap_data_struct`, of which the first one has all that is asked for here."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


class _Owner(NamedTuple):
    uid: int
    gid: int


def act_as_owner(directory: Path) -> None:
    """As root, be the owner of `directory` from here on, for good, and so are children.

    To be called before there are threads that write. Nothing happens to who is not root, or where
    root is the owner, or nothing is there yet. Raises TickdError(FATAL): the kernel refuses it.
    """
    owner = _other_than_root(directory)
    if owner is None:
        return
    try:
        _become(owner)
    except OSError as error:
        raise TickdError(
            f"root cannot act as uid {owner.uid}, the owner of {directory}: {error.strerror}",
            action=Action.FATAL,
            hint="as the daemon's user: setpriv --reuid=UID --regid=GID --clear-groups tickd …",
        ) from error


def give_to_owner(path: Path) -> None:
    """As root, give what was just made to the owner of the directory that it lies in.

    For who stays root beside a child that does not. Raises OSError.
    """
    owner = _other_than_root(path.parent)
    if owner is not None:
        os.chown(path, owner.uid, owner.gid, follow_symlinks=False)


def _other_than_root(directory: Path) -> _Owner | None:
    """Whose `directory` is where we are root and it is not root's; None elsewhere."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return None
    try:
        found = directory.stat()
    except FileNotFoundError:
        return None
    return _Owner(found.st_uid, found.st_gid) if found.st_uid else None


def _become(owner: _Owner) -> None:
    """Change every id, which gives all capabilities up but those that a path may need."""
    if sys.platform == "linux":
        _prctl(_PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(owner.gid, owner.gid, owner.gid)
    os.setresuid(owner.uid, owner.uid, owner.uid)
    if sys.platform == "linux":
        _keep((_DAC_OVERRIDE, _DAC_READ_SEARCH))


def _keep(capabilities: tuple[int, ...]) -> None:
    """Keep these, as far as there are any (containers have fewer), for children, too."""
    header, sets = _Header(_VERSION_3, 0), (_Sets * 2)()
    _check(_libc().capget(ctypes.byref(header), sets))
    kept = [each for each in capabilities if sets[0].permitted & 1 << each]
    mask = sum(1 << each for each in kept)
    sets[0] = _Sets(effective=mask, permitted=mask, inheritable=mask)
    sets[1] = _Sets()
    _check(_libc().capset(ctypes.byref(header), sets))
    for each in kept:
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, each)


def _prctl(option: int, *arguments: int) -> None:
    padded = (*arguments, 0, 0, 0, 0)[:4]
    _check(_libc().prctl(option, *map(ctypes.c_ulong, padded)))


def _check(answer: int) -> None:
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
