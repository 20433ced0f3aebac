from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t

cdef enum Kind:
    INT
    FLOAT
    CODE
    BCD
    TEXT
    COUNTED_TEXT
    BYTES
    TIME
    BITS
    GROUP
    ODD  # whatever the loops have no fast form of: evproto.wire.values does it

cdef enum:
    # Counts of a group, beside the fixed ones.
    BY_FIELD = -1
    TO_THE_END = -2

cdef struct Op:
    Kind kind
    int size  # in bytes; of one entry for a group, in bits for a part
    int bit
    bint reversed
    bint pad_left
    bint counts  # this number says how many entries, or characters, follow
    bint small  # every raw value makes an integer that a double holds
    int count
    Py_ssize_t slot  # where the object that is decoded or encoded has the attribute
    int64_t scale, offset, divisor
    int64_t most  # a larger integer might overflow on its way to the wire
    uint64_t top  # of the integer on the wire
    double by, minus, over  # divisor, offset and scale, to encode floats with
    # Borrowed; the shape holds them.
    PyObject *name
    PyObject *field
    PyObject *enum  # the class
    PyObject *members  # its Members
    PyObject *shape  # of the parts or of one entry


cdef class Members:
    """The members of an open enumeration, by code."""

    cdef object enum
    cdef PyObject *low[256]
    cdef dict high

    cdef PyObject *of(self, uint64_t code) except NULL


cdef class Shape:
    """The fields of one class, as an array of operations."""

    cdef object type
    cdef tuple names
    cdef bint readable  # attributes may be read where the slots are
    cdef bint direct  # objects may be made by filling the slots
    cdef int count
    cdef Op *ops
    cdef list held


cdef class Plan:
    """A layout, ready to be run."""

    cdef object layout
    cdef object message
    cdef bint plain
    cdef int frame_type
    cdef Py_ssize_t base_size
    cdef Py_ssize_t stride
    cdef int variable  # index of the op of variable length, or -1
    cdef Py_ssize_t count_at  # offset of the field that gives the length
    cdef int count_size
    cdef Shape shape

    cdef bint fits(self, Py_ssize_t length) noexcept


cdef Shape make_shape(object cls, tuple fields, bint parts)
cdef Plan plan_of(object layout)
cdef object find_slots(object cls, tuple names)
