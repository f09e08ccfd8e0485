/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The native frame, see Documentation/protocol.md: an 8-byte header in network
 * byte order (u16 total length, u16 type, u32 CRC-32 of the body) and a body.
 */
#ifndef SOCKBEAT_FRAME_H
#define SOCKBEAT_FRAME_H

#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER_BYTES	8
#define FRAME_MAX_BYTES		65535

enum frame_type {
	FRAME_HEARTBEAT,
	FRAME_ECHO,
	FRAME_SLEEP,
};

/**
 * enum frame_result - what frame_parse() found
 * @FRAME_OK: a whole, valid frame
 * @FRAME_PARTIAL: valid so far, @frame.length bytes are needed to go on
 * @FRAME_BAD_LENGTH: shorter than a header, longer than the limit, or a
 *		      heartbeat with a body
 * @FRAME_BAD_CRC: the body does not match its CRC, or a CRC without a body
 * @FRAME_BAD_TYPE: a type that nobody defined
 */
enum frame_result {
	FRAME_OK,
	FRAME_PARTIAL,
	FRAME_BAD_LENGTH,
	FRAME_BAD_CRC,
	FRAME_BAD_TYPE,
};

struct frame {
	uint32_t length;
	enum frame_type type;
};

enum frame_result frame_parse(const uint8_t *data, size_t len,
			      uint32_t max_frame_bytes, struct frame *frame);
void frame_header(uint8_t header[FRAME_HEADER_BYTES], enum frame_type type,
		  const uint8_t *body, size_t body_len);

#endif /* SOCKBEAT_FRAME_H */
