# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, auto_pickle=False
"""Bodies to messages: the loop that runs a plan's operations over bytes.

It is told that the bytes suffice. Any bytes mean something, so nothing here
fails but for want of memory, or where a spec asks for what cannot be.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.datetime cimport datetime_new, import_datetime
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

import datetime as dt

from evproto._speedups._plan cimport (
    BCD, BITS, BYTES, CODE, COUNTED_TEXT, FLOAT, GROUP, INT, ODD, TEXT, TIME, Members, Op, Shape
)

import_datetime()

cdef extern from "Python.h":
    # As plain pointers: what they make is handed on, so counting would be for nothing.
    PyObject *PyFloat_FromDouble(double) except NULL
    PyObject *PyLong_FromLongLong(long long) except NULL
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *, Py_ssize_t) except NULL
    PyObject *PyUnicode_New(Py_ssize_t, Py_UCS4) except NULL
    PyObject *PyUnicode_DecodeLatin1(const char *, Py_ssize_t, const char *) except NULL
    uint8_t *PyUnicode_1BYTE_DATA(PyObject *)
    PyObject *PyObject_Vectorcall(PyObject *, PyObject **, size_t, PyObject *) except NULL
    void drop "Py_DECREF"(PyObject *)

cdef extern from *:
    """
    static inline PyObject *evproto_allocate(PyObject *type)
    {
        return ((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, 0);
    }
    """
    object evproto_allocate(object)

cdef enum:
    LONGEST = 256  # more than any field of a frame takes, or any shape has fields

cdef int64_t EXACT = 1 << 53  # up to here a double holds every integer

cdef char hex_pairs[512]
cdef int days[13]


cdef int fill_tables() except -1:
    cdef int index
    for index, character in enumerate("".join([f"{byte:02X}" for byte in range(256)])):
        hex_pairs[index] = <char>ord(character)
    for index, number in enumerate((0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)):
        days[index] = number
    return 0


fill_tables()

cdef object FlaggedZone, RawTime, decode_value = None


cdef int load_vocabulary() except -1:
    # On first use: these modules are built upon this package.
    global FlaggedZone, RawTime, decode_value
    if decode_value is None:
        from evproto import messages
        from evproto.wire import values

        FlaggedZone, RawTime = messages.FlaggedZone, messages.RawTime
        decode_value = values.decode_value
    return 0


cdef inline PyObject *number(Op *op, uint64_t raw) except NULL:
    cdef int64_t total
    if op.kind == CODE:
        return (<Members>op.members).of(raw)
    total = <int64_t>raw * op.scale + op.offset
    if op.kind == INT:
        return PyLong_FromLongLong(total)
    # One division of two exact doubles rounds once, as Python's int / int does.
    if op.small or -EXACT <= total <= EXACT:
        return PyFloat_FromDouble(<double>total / <double>op.divisor)
    quotient = <object>total / <object>op.divisor
    Py_INCREF(quotient)
    return <PyObject *>quotient


@cython.final
cdef class Reader:
    def __cinit__(self, tz):
        load_vocabulary()
        self.tz = tz
        self.has_zone = isinstance(tz, dt.tzinfo)
        self.weekdays = [None] * 8
        self.flagged = {}

    cdef object shape(self, Shape shape, const uint8_t *data, Py_ssize_t entries):
        """An object of these fields; ``entries`` is the count of the variable one."""
        cdef PyObject *values[LONGEST]
        cdef PyObject *made
        cdef Op *op = shape.ops
        cdef Op *end = op + shape.count
        cdef Py_ssize_t done = 0, index
        if shape.direct:
            filled = evproto_allocate(shape.type)
            while op < end:
                (<PyObject **>(<char *><PyObject *>filled + op.slot))[0] = self.value(op, data, entries)
                data += span(op, entries)
                op += 1
            return filled
        values[0] = NULL
        try:
            while op < end:
                values[done] = self.value(op, data, entries)
                done += 1
                data += span(op, entries)
                op += 1
            made = PyObject_Vectorcall(<PyObject *>shape.type, values, 0, <PyObject *>shape.names)
        finally:
            for index in range(done):
                drop(values[index])
        called = <object>made
        drop(made)
        return called

    cdef PyObject *value(self, Op *op, const uint8_t *data, Py_ssize_t entries) except NULL:
        """The value of one field; the caller owns it."""
        cdef uint8_t turned[LONGEST]
        cdef PyObject *text
        cdef char *pairs
        cdef int at
        if op.reversed and op.kind != ODD:
            for at in range(op.size):
                turned[at] = data[op.size - 1 - at]
            data = turned
        if op.kind == INT or op.kind == FLOAT or op.kind == CODE:
            return number(op, load(data, op.size))
        elif op.kind == BCD:
            text = PyUnicode_New(2 * op.size, 127)
            pairs = <char *>PyUnicode_1BYTE_DATA(text)
            for at in range(op.size):
                memcpy(pairs + 2 * at, hex_pairs + 2 * data[at], 2)
            return text
        elif op.kind == TEXT:
            at = op.size
            while at > 0 and data[at - 1] == 0:
                at -= 1
            return PyUnicode_DecodeLatin1(<const char *>data, at, NULL)
        elif op.kind == COUNTED_TEXT:
            return PyUnicode_DecodeLatin1(<const char *>data, entries, NULL)
        elif op.kind == BYTES:
            return new_bytes(<const char *>data, op.size)
        elif op.kind == TIME and self.has_zone:
            return self.time(data)
        elif op.kind == BITS:
            made = self.word(op, data)
        elif op.kind == GROUP:
            made = self.group(op, data, entries if op.count < 0 else op.count)
        else:
            made = self.odd(op, data)
        Py_INCREF(made)
        return <PyObject *>made

    cdef PyObject *time(self, const uint8_t *data) except NULL:
        # The bits: YKC V1.6, section 3.2.
        cdef int millis = data[0] | data[1] << 8
        cdef int minute = data[2] & 0x3F, hour = data[3] & 0x1F
        cdef int day = data[4] & 0x1F, month = data[5] & 0x0F, year = 2000 + (data[6] & 0x7F)
        cdef int flags = (
            data[2] >> 7
            | (data[2] >> 6 & 1) << 1
            | (data[3] >> 7) << 2
            | (data[3] >> 5 & 3) << 3
            | (data[4] >> 5) << 5
            | (data[5] >> 4) << 8
            | (data[6] >> 7) << 12
        )
        cdef int last = days[month] if month <= 12 else 0
        # Every fourth year, 2000 included, is a leap year; 2100 is not.
        if month == 2 and year % 4 == 0 and year != 2100:
            last = 29
        if 1 <= day <= last and hour < 24 and minute < 60 and millis < 60000:
            moment = datetime_new(
                year, month, day, hour, minute, millis // 1000, millis % 1000 * 1000,
                self.zone(flags) if flags else self.tz, 0,
            )
        else:
            moment = RawTime(PyBytes_FromStringAndSize(<const char *>data, 7))
        Py_INCREF(moment)
        return <PyObject *>moment

    cdef object zone(self, int flags):
        """The time zone that carries these flags; one object for each, as they recur."""
        # Most piles that set a flag at all set the day of the week.
        if flags == flags & 0xE0:
            found = self.weekdays[flags >> 5]
            if found is None:
                found = self.weekdays[flags >> 5] = FlaggedZone(self.tz, flags)
            return found
        found = self.flagged.get(flags)
        if found is None:
            found = self.flagged[flags] = FlaggedZone(self.tz, flags)
        return found

    cdef object group(self, Op *op, const uint8_t *data, Py_ssize_t entries):
        cdef Py_ssize_t index
        cdef tuple group = PyTuple_New(entries)
        for index in range(entries):
            # The collector can see the tuple while Python code runs for an entry.
            Py_INCREF(None)
            PyTuple_SET_ITEM(group, index, None)
        for index in range(entries):
            entry = self.shape(<Shape>op.shape, data, 0)
            Py_INCREF(entry)
            PyTuple_SET_ITEM(group, index, entry)
            Py_DECREF(None)
            data += op.size
        return group

    cdef object word(self, Op *op, const uint8_t *data):
        """A word cut into parts."""
        cdef Shape shape = <Shape>op.shape
        cdef PyObject *values[64]
        cdef PyObject *made
        cdef Op *part = shape.ops
        cdef Op *end = part + shape.count
        cdef uint64_t word = load(data, op.size)
        cdef Py_ssize_t done = 0, index
        if shape.direct:
            filled = evproto_allocate(shape.type)
            while part < end:
                (<PyObject **>(<char *><PyObject *>filled + part.slot))[0] = number(
                    part, word >> part.bit & part.top
                )
                part += 1
            return filled
        values[0] = NULL
        try:
            while part < end:
                values[done] = number(part, word >> part.bit & part.top)
                done += 1
                part += 1
            made = PyObject_Vectorcall(<PyObject *>shape.type, values, 0, <PyObject *>shape.names)
        finally:
            for index in range(done):
                drop(values[index])
        called = <object>made
        drop(made)
        return called

    cdef object odd(self, Op *op, const uint8_t *data):
        return decode_value(
            <object>op.field, PyBytes_FromStringAndSize(<const char *>data, op.size), self.tz
        )


cdef inline Py_ssize_t span(Op *op, Py_ssize_t entries) noexcept:
    """How many bytes the operation takes."""
    if op.kind == GROUP:
        return op.size * (entries if op.count < 0 else op.count)
    if op.kind == COUNTED_TEXT:
        return entries
    return op.size
