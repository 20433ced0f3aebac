from libc.stdint cimport uint8_t, uint64_t
from cpython.object cimport PyObject

from evproto._speedups._plan cimport Op, Shape


cdef inline uint64_t load(const uint8_t *data, int size) noexcept:
    """Up to eight bytes, low byte first."""
    cdef uint64_t value = 0
    cdef int at
    if size == 4:
        return data[0] | <uint64_t>data[1] << 8 | <uint64_t>data[2] << 16 | <uint64_t>data[3] << 24
    if size == 1:
        return data[0]
    if size == 2:
        return data[0] | <uint64_t>data[1] << 8
    for at in range(size):
        value |= <uint64_t>data[at] << 8 * at
    return value


cdef class Reader:
    """Makes messages of bodies, in one time zone."""

    cdef object tz
    cdef bint has_zone
    cdef list weekdays
    cdef dict flagged

    cdef object shape(self, Shape shape, const uint8_t *data, Py_ssize_t entries)
    cdef PyObject *value(self, Op *op, const uint8_t *data, Py_ssize_t entries) except NULL
    cdef PyObject *time(self, const uint8_t *data) except NULL
    cdef object group(self, Op *op, const uint8_t *data, Py_ssize_t entries)
    cdef object word(self, Op *op, const uint8_t *data)
    cdef object odd(self, Op *op, const uint8_t *data)
    cdef object zone(self, int flags)
