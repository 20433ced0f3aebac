# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""CRC-16/MODBUS, sixteen bytes at a time.

The compiled twin of ``evproto.wire.checksum``. Sixteen tables of 512 bytes fit
the first-level cache, and every round has one dependent lookup instead of
sixteen.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.long cimport PyLong_AsLongAndOverflow, PyLong_CheckExact
from libc.stdint cimport uint8_t, uint16_t

cdef uint16_t tables[16][256]


cdef void fill_tables() noexcept nogil:
    cdef int byte, bit, further
    cdef uint16_t crc
    for byte in range(256):
        crc = <uint16_t>byte
        for bit in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
        tables[0][byte] = crc
    for further in range(1, 16):
        for byte in range(256):
            crc = tables[further - 1][byte]
            tables[further][byte] = (crc >> 8) ^ tables[0][crc & 0xFF]


fill_tables()


cdef uint16_t crc16(const uint8_t *data, Py_ssize_t size, uint16_t crc) noexcept nogil:
    while size >= 16:
        crc = (
            tables[15][data[0] ^ (crc & 0xFF)] ^ tables[14][data[1] ^ (crc >> 8)]
            ^ tables[13][data[2]] ^ tables[12][data[3]]
            ^ tables[11][data[4]] ^ tables[10][data[5]]
            ^ tables[9][data[6]] ^ tables[8][data[7]]
            ^ tables[7][data[8]] ^ tables[6][data[9]]
            ^ tables[5][data[10]] ^ tables[4][data[11]]
            ^ tables[3][data[12]] ^ tables[2][data[13]]
            ^ tables[1][data[14]] ^ tables[0][data[15]]
        )
        data += 16
        size -= 16
    if size >= 8:
        crc = (
            tables[7][data[0] ^ (crc & 0xFF)] ^ tables[6][data[1] ^ (crc >> 8)]
            ^ tables[5][data[2]] ^ tables[4][data[3]]
            ^ tables[3][data[4]] ^ tables[2][data[5]]
            ^ tables[1][data[6]] ^ tables[0][data[7]]
        )
        data += 8
        size -= 8
    while size > 0:
        crc = (crc >> 8) ^ tables[0][(crc ^ data[0]) & 0xFF]
        data += 1
        size -= 1
    return crc


def crc16_modbus(data, crc=0xFFFF):
    """CRC-16/MODBUS of ``data`` as an integer; it is sent low byte first.

    ``crc`` continues an earlier result: ``crc16(b, crc16(a)) == crc16(a + b)``.

    Raises:
        InputTypeError: ``data`` is not bytes-like.
    """
    cdef long start = -1
    cdef int overflow = 0
    if PyLong_CheckExact(crc):
        start = PyLong_AsLongAndOverflow(crc, &overflow)
    if type(data) is not bytes:
        # Imported late: that module is built upon this one.
        from evproto.wire.framing import as_bytes

        data = as_bytes(data)
    if not 0 <= start <= 0xFFFF:
        from evproto.wire.checksum import crc16_modbus_pure

        return crc16_modbus_pure(data, crc)
    return crc16(<const uint8_t *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), <uint16_t>start)
