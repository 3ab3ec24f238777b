"""What version 5 wraps its frames in behind STARTUP, for a fake at either end of a connection."""

import io
import struct

import lz4.block
from cassandra.segment import CRC24_LENGTH, CRC32_LENGTH, SegmentCodec


class Segments:
    """Stands where the reader and the writer of a connection stood."""

    def __init__(self, reader, writer, compressed):
        self.reader, self.writer = reader, writer
        self.codec = SegmentCodec(*(pack, unpack) if compressed else ())
        self.opened = b""

    async def readexactly(self, length):
        while len(self.opened) < length:
            head = await self.reader.readexactly(self.codec.header_length + CRC24_LENGTH)
            header = self.codec.decode_header(io.BytesIO(head))
            payload = await self.reader.readexactly(header.payload_length + CRC32_LENGTH)
            self.opened += self.codec.decode(io.BytesIO(payload), header).payload
        taken, self.opened = self.opened[:length], self.opened[length:]
        return taken

    def write(self, frames):
        out = io.BytesIO()
        self.codec.encode(out, frames)
        self.writer.write(out.getvalue())

    def close(self):
        self.writer.close()


def pack(data):
    return struct.pack(">i", len(data)) + lz4.block.compress(data, store_size=False)


def unpack(data):
    (length,) = struct.unpack_from(">i", data)
    return lz4.block.decompress(data[4:], uncompressed_size=length)
