# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, auto_pickle=False
"""Cutting a byte stream into frames; the compiled twin of ``PureSplitter``.

The rules stand in ``evproto.wire.framing``. Each call works in two steps.
First the bytes are cut by C code that calls nothing of Python, so that no
other thread and no finalizer can see a half-cut stream. Then, the splitter's
own state being whole again, the pieces and errors are made.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.stdint cimport int64_t, uint8_t, uint16_t
from libc.string cimport memchr, memcpy, memset

from evproto._speedups._checksum cimport crc16

cdef enum:
    START = 0x68
    OVERHEAD = 4
    LEAST_LENGTH = 4
    SKIP_REPORT = 4096
    # A candidate is at most 259 bytes long, so what is remembered about the
    # candidates inside it fits a ring of the next power of two.
    RING = 512

cdef enum Verdict:
    OK
    SWAPPED
    WRONG
    TRUNCATED
    SKIPPED

cdef struct Event:
    Verdict verdict
    int64_t position
    Py_ssize_t start  # of the bytes in the buffer; of skipped ones in the arena
    Py_ssize_t size
    int expected
    int actual


# Fetched on first use: these modules are built upon this package.
cdef object Piece = None
cdef object ChecksumError, SkippedBytesError, TruncatedFrameError, as_bytes


cdef int load_vocabulary() except -1:
    global Piece, ChecksumError, SkippedBytesError, TruncatedFrameError, as_bytes
    if Piece is None:
        from evproto import errors
        from evproto.wire import framing

        ChecksumError = errors.ChecksumError
        SkippedBytesError = errors.SkippedBytesError
        TruncatedFrameError = errors.TruncatedFrameError
        as_bytes = framing.as_bytes
        Piece = framing.Piece
    return 0


cdef class Cut:
    """What one call has cut: the bytes it owns, and events pointing into them."""

    cdef uint8_t *buffer
    cdef Py_ssize_t size
    cdef Event *events
    cdef Py_ssize_t count
    cdef Py_ssize_t room
    cdef uint8_t *arena
    cdef Py_ssize_t arena_size
    cdef Py_ssize_t arena_room

    def __dealloc__(self):
        PyMem_Free(self.buffer)
        PyMem_Free(self.events)
        PyMem_Free(self.arena)

    cdef int add(
        self, Verdict verdict, int64_t position, Py_ssize_t start, Py_ssize_t size, int expected, int actual
    ) except -1:
        cdef Event *grown
        cdef Py_ssize_t room
        if self.count == self.room:
            room = 2 * self.room + 4
            grown = <Event *>PyMem_Realloc(self.events, room * sizeof(Event))
            if grown is NULL:
                raise MemoryError
            self.events = grown
            self.room = room
        self.events[self.count] = Event(verdict, position, start, size, expected, actual)
        self.count += 1
        return 0

    cdef int store(self, const uint8_t *data, Py_ssize_t size) except -1:
        """Keep skipped bytes, which may have left the buffer calls ago."""
        cdef uint8_t *grown
        cdef Py_ssize_t room
        if self.arena_size + size > self.arena_room:
            room = 2 * self.arena_room + size
            grown = <uint8_t *>PyMem_Realloc(self.arena, room)
            if grown is NULL:
                raise MemoryError
            self.arena = grown
            self.arena_room = room
        memcpy(self.arena + self.arena_size, data, size)
        self.arena_size += size
        return 0

    cdef list items(self):
        cdef list out = []
        cdef Event *event
        cdef Py_ssize_t index
        cdef bytes data
        cdef uint8_t *source
        for index in range(self.count):
            event = &self.events[index]
            source = self.arena if event.verdict == SKIPPED else self.buffer
            data = PyBytes_FromStringAndSize(<char *>source + event.start, event.size)
            if event.verdict == OK:
                out.append(Piece(event.position, data, "ok"))
            elif event.verdict == SKIPPED:
                out.append(SkippedBytesError(data=data, position=event.position))
            elif event.verdict == TRUNCATED:
                error = TruncatedFrameError(expected=event.expected, actual=event.actual, data=data)
                out.append(error.at(event.position))
            elif event.expected < 0:
                out.append(Piece(event.position, data, "swapped" if event.verdict == SWAPPED else "wrong"))
            else:
                error = ChecksumError(expected=event.expected, actual=event.actual, data=data)
                out.append(error.at(event.position))
        return out


cdef class Splitter:
    """Cuts a byte stream into frames."""

    cdef bint ignore
    cdef bint either
    cdef uint8_t *held
    cdef Py_ssize_t held_size
    cdef int64_t origin  # stream position of the first byte held
    cdef int64_t blamed  # what lies before this position was reported in a bad frame
    cdef int64_t skipped_from
    cdef Py_ssize_t skipped_size
    cdef uint8_t skipped[SKIP_REPORT]
    # Positions of candidates known to be bad, each at its place modulo RING.
    cdef int64_t wrong[RING]
    cdef object __weakref__

    def __cinit__(self):
        memset(self.wrong, 0xFF, sizeof(self.wrong))

    def __init__(self, policy="strict"):
        load_vocabulary()
        self.ignore = policy == "ignore"
        self.either = policy == "either"

    def __dealloc__(self):
        PyMem_Free(self.held)

    @property
    def position(self):
        """Stream position of the first byte not yet decided on."""
        return self.origin

    @property
    def pending(self):
        """Bytes held back because what they are is still open."""
        return self.held_size

    def feed(self, chunk, /):
        """Take in bytes; return what has become certain, in order.

        Raises:
            InputTypeError: ``chunk`` is not bytes-like; nothing is taken in.
        """
        if type(chunk) is not bytes:
            chunk = as_bytes(chunk)
        return self.advance(<const uint8_t *>PyBytes_AS_STRING(chunk), PyBytes_GET_SIZE(chunk), False)

    def finish(self):
        """The stream has ended: decide on what is left, and start afresh."""
        return self.advance(NULL, 0, True)

    cdef list advance(self, const uint8_t *more, Py_ssize_t size, bint final):
        cdef Cut cut = Cut()
        cdef uint8_t *rest = NULL
        cdef Py_ssize_t at, left
        cut.size = self.held_size + size
        cut.buffer = <uint8_t *>PyMem_Malloc(cut.size + 1)
        if cut.buffer is NULL:
            raise MemoryError
        if self.held_size:
            memcpy(cut.buffer, self.held, self.held_size)
        if size:
            memcpy(cut.buffer + self.held_size, more, size)
        at = self.drain(cut, final)
        if final:
            self.flush(cut)
        left = cut.size - at
        if left:
            rest = <uint8_t *>PyMem_Malloc(left)
            if rest is NULL:
                raise MemoryError
            memcpy(rest, cut.buffer + at, left)
        PyMem_Free(self.held)
        self.held = rest
        self.held_size = left
        self.origin += at
        return cut.items()

    cdef Py_ssize_t drain(self, Cut cut, bint final) except -1:
        cdef uint8_t *buffer = cut.buffer
        cdef uint8_t *following
        cdef Py_ssize_t at = 0, have, size
        cdef int expected, actual
        cdef Verdict verdict
        while at < cut.size:
            have = cut.size - at
            if buffer[at] != START:
                following = <uint8_t *>memchr(buffer + at, START, have)
                at = self.skip(cut, at, following - buffer if following is not NULL else cut.size)
                continue
            size = buffer[at + 1] + OVERHEAD if have > 1 else 0
            if have > 1 and (size < LEAST_LENGTH + OVERHEAD or self.is_wrong(at)):
                at = self.skip(cut, at, at + 1)
                continue
            if have < size or have < 2:
                if not final:
                    break
                self.blame(cut, TRUNCATED, at, have, <int>size, <int>have)
                at = self.resume(cut, at, cut.size)
                continue
            verdict = judge(buffer + at, size, &expected, &actual)
            if self.accepts(verdict):
                self.flush(cut)
                # No "expected" on a piece: that marks it off from an error.
                cut.add(verdict, self.origin + at, at, size, -1, -1)
                at += size
                continue
            if have == size and not final:
                break  # where to go on depends on the next byte
            self.blame(cut, WRONG, at, size, expected, actual)
            at = self.resume(cut, at, at + size)
        return at

    cdef Py_ssize_t resume(self, Cut cut, Py_ssize_t at, Py_ssize_t end) except -1:
        """Where to go on after the bad candidate from ``at`` to ``end``."""
        cdef uint8_t *buffer = cut.buffer
        cdef uint8_t *found
        cdef Py_ssize_t inner = at, stop
        cdef int expected, actual
        while inner + 1 < end:
            found = <uint8_t *>memchr(buffer + inner + 1, START, end - inner - 1)
            if found is NULL:
                break
            inner = found - buffer
            if inner + 1 < end and buffer[inner + 1] >= LEAST_LENGTH:
                stop = inner + buffer[inner + 1] + OVERHEAD
                if stop <= end and not self.is_wrong(inner):
                    if self.accepts(judge(found, stop - inner, &expected, &actual)):
                        return self.skip(cut, at, inner)
                    self.wrong[(self.origin + inner) % RING] = self.origin + inner
        if end < cut.size and buffer[end] == START:
            return self.skip(cut, at, end)
        return self.skip(cut, at, at + 1)

    cdef inline bint is_wrong(self, Py_ssize_t at) noexcept:
        return self.wrong[(self.origin + at) % RING] == self.origin + at

    cdef inline bint accepts(self, Verdict verdict) noexcept:
        return verdict == OK or self.ignore or (self.either and verdict == SWAPPED)

    cdef int blame(
        self, Cut cut, Verdict verdict, Py_ssize_t at, Py_ssize_t size, int expected, int actual
    ) except -1:
        """Report a bad candidate, unless it begins inside one already reported."""
        cdef int64_t position = self.origin + at
        if position >= self.blamed:
            self.flush(cut)
            self.blamed = position + size
            cut.add(verdict, position, at, size, expected, actual)
        return 0

    cdef Py_ssize_t skip(self, Cut cut, Py_ssize_t start, Py_ssize_t stop) except -1:
        """Pass over bytes; those inside a reported bad frame are not reported again."""
        cdef Py_ssize_t begin = start, run
        if begin < self.blamed - self.origin:
            begin = <Py_ssize_t>(self.blamed - self.origin)
        while begin < stop:
            if not self.skipped_size:
                self.skipped_from = self.origin + begin
            elif self.skipped_from + self.skipped_size != self.origin + begin:
                self.flush(cut)
                continue
            run = SKIP_REPORT - self.skipped_size
            if run > stop - begin:
                run = stop - begin
            memcpy(self.skipped + self.skipped_size, cut.buffer + begin, run)
            self.skipped_size += run
            begin += run
            if self.skipped_size == SKIP_REPORT:
                self.flush(cut)
        return stop

    cdef int flush(self, Cut cut) except -1:
        if self.skipped_size:
            cut.add(SKIPPED, self.skipped_from, cut.arena_size, self.skipped_size, -1, -1)
            cut.store(self.skipped, self.skipped_size)
            self.skipped_size = 0
        return 0


cdef Verdict judge(const uint8_t *data, Py_ssize_t size, int *expected, int *actual) noexcept:
    cdef uint16_t right = crc16(data + 2, size - 4, 0xFFFF)
    expected[0] = right
    actual[0] = data[size - 2] | data[size - 1] << 8
    if expected[0] == actual[0]:
        return OK
    if expected[0] == (data[size - 1] | data[size - 2] << 8):
        return SWAPPED
    return WRONG
