package qr

import (
	"bytes"
	"encoding/binary"
	"hash/adler32"
	"hash/crc32"

	"github.com/klauspost/compress/flate"
)

// png returns the code as a PNG with this many pixels a module, of one bit each. Package
// image/png would leave 1.3 MB more to collect with each QR.
func (m modules) png(scale int) ([]byte, error) {
	side := len(m) * scale
	width := 1 + (side+7)/8 // in bytes: the filter, none, and the pixels
	lines := make([]byte, 0, side*width)
	for _, row := range m {
		line := make([]byte, width)
		for x := range side {
			if !row[x/scale] {
				line[1+x/8] |= 0x80 >> (x % 8)
			}
		}
		lines = append(lines, bytes.Repeat(line, scale)...)
	}
	packed := bytes.NewBuffer([]byte{0x78, 0x01}) // zlib's header (RFC 1950): a window of 32 KB, fast
	if err := flate.StatelessDeflate(packed, lines, true, nil); err != nil {
		return nil, err
	}
	header := binary.BigEndian.AppendUint32(nil, uint32(side))
	header = binary.BigEndian.AppendUint32(header, uint32(side))
	png := appendChunk([]byte("\x89PNG\r\n\x1a\n"), "IHDR", append(header, 1, 0, 0, 0, 0)) // bits, and kinds of which 0 is grey
	png = appendChunk(png, "IDAT", binary.BigEndian.AppendUint32(packed.Bytes(), adler32.Checksum(lines)))
	return appendChunk(png, "IEND", nil), nil
}

// appendChunk appends a part of a PNG (ISO/IEC 15948, 5.3).
func appendChunk(png []byte, kind string, content []byte) []byte {
	png = binary.BigEndian.AppendUint32(png, uint32(len(content)))
	begin := len(png)
	png = append(append(png, kind...), content...)
	return binary.BigEndian.AppendUint32(png, crc32.ChecksumIEEE(png[begin:]))
}
