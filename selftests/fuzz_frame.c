// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzzing the native frame's parser: it agrees with a reference made without
 * it, looks at nothing that has not arrived, and says the same however the
 * stream is cut.
 *
 * Input: max_frame_bytes (2 bytes), how (the high bit: put CRCs right, which
 * chance does not; the low half: n), n lengths of pieces, the stream.
 */
#include "frame.h"
#include "fuzz.h"
#include "wire.h"

/* A frame, or at the end of a stream what is there instead. */
struct seen {
	enum frame_result result;
	uint32_t length;
	unsigned int type;
	size_t at;
};

static uint32_t number(const uint8_t *bytes, int n)
{
	uint32_t value = 0;

	while (n--)
		value = value << 8 | *bytes++;
	return value;
}

/* By the table in Documentation/protocol.md. */
static struct seen expected(const uint8_t *data, size_t len, uint32_t max)
{
	struct seen seen = { .result = FRAME_PARTIAL, .length = 8 };
	uint32_t crc;

	if (len < 8)
		return seen;
	seen.length = number(data, 2);
	seen.type = number(data + 2, 2);
	if (seen.length < 8 || seen.length > max)
		seen.result = FRAME_BAD_LENGTH;
	else if (seen.type > 2)
		seen.result = FRAME_BAD_TYPE;
	else if (!seen.type && seen.length != 8)
		seen.result = FRAME_BAD_LENGTH;
	else if (len >= seen.length) {
		crc = seen.length == 8 ? 0 : wire_crc(data + 8, seen.length - 8);
		seen.result = crc == number(data + 4, 4) ? FRAME_OK : FRAME_BAD_CRC;
	}
	return seen;
}

static void put_crcs_right(uint8_t *data, size_t len)
{
	uint32_t length;

	for (; len >= 8; data += length, len -= length) {
		length = number(data, 2);
		if (length < 8 || length > len)
			break;
		wire_header(data, length, number(data + 2, 2),
			    length == 8 ? 0 : wire_crc(data + 8, length - 8));
	}
}

/* All frames of the stream, and last what is behind them. Returns how many. */
static size_t whole(const struct fuzz_stream *s, uint32_t max, struct seen *seen)
{
	uint8_t header[FRAME_HEADER_BYTES];
	struct frame frame = { 0 };
	size_t used = 0, n = 0;
	const uint8_t *data;

	for (;; n++) {
		data = s->data + used;
		seen[n] = expected(data, s->len - used, max);
		seen[n].at = used;
		CHECK(frame_parse(data, s->len - used, max, &frame) == seen[n].result);
		if (seen[n].result == FRAME_PARTIAL)
			CHECK(frame.length == seen[n].length);
		if (seen[n].result != FRAME_OK)
			return n + 1;
		CHECK(frame.length == seen[n].length);
		CHECK(frame.type == seen[n].type);
		CHECK(frame.length <= s->len - used);
		frame_header(header, frame.type, data + 8, frame.length - 8);
		CHECK(!memcmp(header, data, 8));
		used += frame.length;
	}
}

static void in_pieces(struct fuzz_stream *s, uint32_t max, const struct seen *seen, size_t n)
{
	enum frame_result result;
	struct frame frame = { 0 };
	size_t used = 0, i = 0, there;

	fuzz_stream_restart(s);
	do {
		there = s->arrived - used;
		result = frame_parse(s->data + used, there, max, &frame);
		CHECK(i < n);
		CHECK(used == seen[i].at);
		if (result == FRAME_OK) {
			CHECK(frame.length <= there);
			CHECK(frame.length == seen[i].length);
			CHECK(frame.type == seen[i].type);
			CHECK(seen[i].result == FRAME_OK);
			used += frame.length;
			i++;
		} else if (result == FRAME_PARTIAL) {
			/* It waits for something, and never for too much. */
			CHECK(frame.length > there);
			CHECK(frame.length <= max);
			CHECK(seen[i].result != FRAME_OK || frame.length <= seen[i].length);
			/* Nor for a body where the header is wrong already. */
			CHECK(there < 8 || (seen[i].result != FRAME_BAD_LENGTH &&
					    seen[i].result != FRAME_BAD_TYPE));
		}
	} while (result == FRAME_OK || (result == FRAME_PARTIAL && fuzz_stream_more(s)));

	CHECK(i == n - 1);
	CHECK(result == seen[i].result);
	if (result == FRAME_PARTIAL)
		CHECK(frame.length == seen[i].length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	struct fuzz_stream stream;
	struct seen *seen;
	uint32_t max;
	uint8_t how;
	size_t n;

	max = fuzz_u16(&in);
	if (max < FRAME_HEADER_BYTES)
		max = FRAME_HEADER_BYTES;	/* as the setting has it */
	how = fuzz_byte(&in);
	fuzz_stream_cuts(&stream, how, &in);
	fuzz_stream_fill(&stream, in.at, in.left);
	if (how & 0x80)
		put_crcs_right(stream.data, stream.len);

	seen = calloc(stream.len / FRAME_HEADER_BYTES + 1, sizeof(*seen));
	CHECK(seen);
	n = whole(&stream, max, seen);
	in_pieces(&stream, max, seen, n);
	free(seen);
	fuzz_stream_free(&stream);
	return 0;
}
