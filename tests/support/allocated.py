"""What the C library has handed out: protobuf's frames live there, where tracemalloc does not look."""

import ctypes
import gc

import pytest

_NAMES = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class _Mallinfo2(ctypes.Structure):
    """glibc's struct mallinfo2: see mallinfo(3)."""

    _fields_ = [(name, ctypes.c_size_t) for name in _NAMES]


def allocated_bytes() -> int:
    """Bytes in use, by malloc in its heap and in maps of its own. Skips the test where there is no glibc of 2.33."""
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        pytest.skip("this C library has no mallinfo2")
    mallinfo2.restype = _Mallinfo2
    gc.collect()
    found = mallinfo2()
    return int(found.uordblks + found.hblkhd)
