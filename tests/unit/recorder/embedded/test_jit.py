"""That the probe tells a process that may write code from one that may not."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest

from recorder.embedded.jit import may_write_code

# What MemoryDenyWriteExecute= does, by the kernel's own switch (Linux 6.3 and newer).
REFUSED = """
import ctypes, sys
if ctypes.CDLL(None, use_errno=True).prctl(65, 1, 0, 0, 0):
    sys.exit(ctypes.get_errno())
from recorder.embedded.jit import may_write_code
sys.exit(100 + may_write_code())
"""


def test_ordinary_process_may() -> None:
    assert may_write_code()


def test_process_that_is_denied_may_not() -> None:
    ended = subprocess.run([sys.executable, "-c", REFUSED], check=False, timeout=30)
    if ended.returncode == errno.EINVAL:
        pytest.skip("prctl(PR_SET_MDWE) is not permitted: Linux before 6.3")
    assert ended.returncode == 100
