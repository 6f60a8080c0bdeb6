"""Who is calling: what the kernel says of the process at the other end of the socket (SO_PEERCRED).

Nothing that the request says counts, an Authorization header least of all. The kernel's word dates from the
moment of connecting, so a connection that is handed on keeps its first owner.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import time

from aiohttp import web

from jobd.errors import Forbidden
from jobd.people import group_id, group_name, person, user_name
from jobd.verbs.desk import Caller, Desk

_CREDENTIALS = struct.Struct("3i")
_SO_PEERGROUPS = 59
_MOST_OF_PYTHON = 1024
_MOST_GROUPS = 65536
_KEPT = 60.0
"""Seconds for which a name is believed; asking for it can mean asking the network."""


class Callers:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._known: dict[tuple[object, ...], tuple[float, Caller | None]] = {}

    def of(self, request: web.Request) -> Caller:
        """Raises Forbidden for somebody whom this daemon does not serve."""
        sock = request.get_extra_info("socket")
        if sock is None:
            raise ConnectionResetError("the caller is gone")
        uid, gid, groups = peer(sock)
        group = self._desk.settings.admin_group
        key = (uid, gid, groups, group)
        at, caller = self._known.get(key, (-_KEPT, None))
        if at + _KEPT < time.monotonic():
            caller = self._look_up(uid, gid, groups, group)
            if len(self._known) > 1000:
                self._known.clear()
            self._known[key] = (time.monotonic(), caller)
        if caller is None:
            raise Forbidden(self._desk.persons.whom())
        return caller

    def _look_up(self, uid: int, gid: int, groups: frozenset[int], admins: str | None) -> Caller | None:
        name = user_name(uid)
        if uid not in (0, os.geteuid()) and not (
            _is_called(name, uid) and self._desk.persons.may_run_as(name)
        ):
            return None
        every = {gid, *groups}
        admin = uid == 0 or (admins is not None and group_id(admins) in every)
        return Caller(uid, gid, name, admin, frozenset(filter(None, map(group_name, every))))


def peer(sock: socket.socket) -> tuple[int, int, frozenset[int]]:
    """User, group, and further groups of whoever connected."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, gid = _CREDENTIALS.unpack(raw)
    if sock.family != socket.AF_UNIX or uid < 0:
        raise Forbidden("nobody knows who is calling: use the Unix socket")
    return uid, gid, _groups(sock)


def _groups(sock: socket.socket) -> frozenset[int]:
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_OF_PYTHON)
    except OSError:  # more of them than that
        raw = _groups_of_many(sock)
    return frozenset(struct.unpack(f"{len(raw) // 4}I", raw))


def _groups_of_many(sock: socket.socket) -> bytes:
    """What Python's own getsockopt, which takes 1024 bytes at most, cannot ask for."""
    groups, size = ctypes.create_string_buffer(4 * _MOST_GROUPS), ctypes.c_uint32(4 * _MOST_GROUPS)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.getsockopt(sock.fileno(), socket.SOL_SOCKET, _SO_PEERGROUPS, groups, ctypes.byref(size)):
        raise OSError(ctypes.get_errno(), "the caller's groups cannot be asked for")
    return groups.raw[: size.value]


def _is_called(name: str, uid: int) -> bool:
    """Both ways: a number without a name may be somebody else's name."""
    who = person(name)
    return who is not None and who.uid == uid
