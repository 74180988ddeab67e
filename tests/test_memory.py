"""The allocator's settings, where there is glibc."""

import platform

from sctd.train.memory import keep_freed_memory


def test_glibc_takes_every_setting():
    assert keep_freed_memory() == (platform.libc_ver()[0] == "glibc")


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert not keep_freed_memory()
