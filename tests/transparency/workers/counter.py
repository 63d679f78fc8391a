"""Reports every signal it gets, one by one, with its sender and code, until it is released.

All are blocked and taken with sigtimedwait, so none is missed, and stop signals do not stop it.
With `--own-group` it leaves its process group first, if it can.
"""

import ctypes
import os
import signal
import sys

from common import is_released, report


class Info(ctypes.Structure):
    """The beginning of siginfo_t on 64-bit Linux, as kill and sigqueue fill it in."""

    _fields_ = [
        (name, ctypes.c_int) for name in ("number", "error", "code", "padding", "pid", "uid", "value", "rest")
    ] + [("space", ctypes.c_byte * 96)]


class Time(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


libc = ctypes.CDLL(None)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
everything = ctypes.create_string_buffer(128)
libc.sigfillset(everything)
if "--own-group" in sys.argv:
    try:
        os.setpgid(0, 0)
    except PermissionError:
        pass
report(ready=os.getpid())
while True:
    ending = is_released("go")
    info = Info()
    while libc.sigtimedwait(everything, ctypes.byref(info), ctypes.byref(Time(0, 0 if ending else 20_000_000))) > 0:
        report(signal=info.number, code=info.code, pid=info.pid, value=info.value)
    if ending:
        break
report(done=True)
sys.exit(7)
