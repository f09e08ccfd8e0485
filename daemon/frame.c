// SPDX-License-Identifier: BSD-3-Clause
#include <arpa/inet.h>
#include <string.h>
#include <zlib.h>

#include "frame.h"

/* The only bytes that a valid heartbeat can have. */
static const uint8_t heartbeat[FRAME_HEADER_BYTES] = { 0, FRAME_HEADER_BYTES };

struct wire_header {
	uint16_t length;
	uint16_t type;
	uint32_t crc;
};

_Static_assert(sizeof(struct wire_header) == FRAME_HEADER_BYTES, "wire format");

static uint32_t body_crc(const uint8_t *body, size_t len)
{
	/* zlib takes a null body as "give the initial value", which is 0 too. */
	return len ? crc32(0, body, len) : 0;
}

/**
 * frame_parse - look at the first frame of a byte stream
 * @data: the stream from a frame boundary on
 * @len: bytes there
 * @max_frame_bytes: longest frame that is accepted, header included
 * @frame: filled in for FRAME_OK and FRAME_PARTIAL
 *
 * What is wrong with a header is said as soon as the header is complete, so
 * that nobody waits for, or keeps room for, the body of a refused frame.
 *
 * Return: what was found; nothing is consumed.
 */
enum frame_result frame_parse(const uint8_t *data, size_t len,
			      uint32_t max_frame_bytes, struct frame *frame)
{
	struct wire_header wire;
	uint32_t length;

	if (len < FRAME_HEADER_BYTES) {
		frame->length = FRAME_HEADER_BYTES;
		return FRAME_PARTIAL;
	}
	if (!memcmp(data, heartbeat, sizeof(heartbeat))) {
		frame->length = FRAME_HEADER_BYTES;
		frame->type = FRAME_HEARTBEAT;
		return FRAME_OK;
	}

	memcpy(&wire, data, sizeof(wire));
	length = ntohs(wire.length);
	if (length < FRAME_HEADER_BYTES || length > max_frame_bytes)
		return FRAME_BAD_LENGTH;
	if (ntohs(wire.type) > FRAME_SLEEP)
		return FRAME_BAD_TYPE;
	frame->type = ntohs(wire.type);
	frame->length = length;
	if (frame->type == FRAME_HEARTBEAT && length > FRAME_HEADER_BYTES)
		return FRAME_BAD_LENGTH;
	if (len < length)
		return FRAME_PARTIAL;
	if (ntohl(wire.crc) != body_crc(data + FRAME_HEADER_BYTES, length - FRAME_HEADER_BYTES))
		return FRAME_BAD_CRC;
	return FRAME_OK;
}

/**
 * frame_header - make the header of a frame
 * @header: written
 * @type: the frame's type
 * @body: its body
 * @body_len: bytes in @body, at most FRAME_MAX_BYTES - FRAME_HEADER_BYTES
 */
void frame_header(uint8_t header[FRAME_HEADER_BYTES], enum frame_type type,
		  const uint8_t *body, size_t body_len)
{
	struct wire_header wire = {
		.length = htons(FRAME_HEADER_BYTES + body_len),
		.type = htons(type),
		.crc = htonl(body_crc(body, body_len)),
	};

	memcpy(header, &wire, sizeof(wire));
}
