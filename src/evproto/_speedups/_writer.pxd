from libc.stdint cimport uint8_t
from cpython.object cimport PyObject

from evproto._speedups._plan cimport Op, Plan, Shape

cdef enum:
    # What a write answers: done, or that a pure engine should be asked.
    DONE = 0
    ASK_PURE = 1

cdef enum Zone:
    FOREIGN  # a zone of which nothing is known
    FIXED  # datetime.timezone
    REGION  # zoneinfo.ZoneInfo

cdef struct Sheet:
    # Where a body is written.
    uint8_t *at
    uint8_t *end
    long long counted  # what the count field said
    int frame_type


cdef class Writer:
    """Makes bodies of messages, in one time zone."""

    cdef object tz
    cdef Zone zone

    cdef int message(self, Plan plan, object message, Sheet *sheet) except -1
    cdef int shape(self, Shape shape, object source, Sheet *sheet, Op *group, Py_ssize_t index) except -1
    cdef bint time(self, PyObject *value, uint8_t *at)
    cdef bint word(self, Op *op, object value, uint8_t *at)
    cdef int group(self, Op *op, object value, Sheet *sheet) except -1
    cdef int counted_text(self, PyObject *value, Sheet *sheet) except -1
    cdef int odd(self, Op *op, object value, Sheet *sheet, Op *group, Py_ssize_t index) except -1
