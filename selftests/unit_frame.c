// SPDX-License-Identifier: GPL-2.0-only
/*
 * The native frame's parser: what it takes, what it refuses, and that it says
 * the same however the bytes are split.
 */
#include <stdlib.h>
#include <string.h>
#include "frame.h"
#include "harness.h"
#include "wire.h"

/* From a block of exactly that size, so that a sanitizer sees an overrun. */
static enum frame_result parse_exact(const uint8_t *data, size_t len, uint32_t max,
				     struct frame *frame)
{
	uint8_t *copy = malloc(len ? len : 1);
	enum frame_result result;

	if (len)
		memcpy(copy, data, len);
	result = frame_parse(copy, len, max, frame);
	free(copy);
	return result;
}

TEST(heartbeat)
{
	static const uint8_t wire[8] = { 0, 8, 0, 0, 0, 0, 0, 0 };
	uint8_t header[8];
	struct frame frame;

	for (size_t len = 0; len < 8; len++) {
		ASSERT_EQ(FRAME_PARTIAL, parse_exact(wire, len, 65535, &frame));
		ASSERT_EQ(8, frame.length);
	}
	ASSERT_EQ(FRAME_OK, parse_exact(wire, 8, 65535, &frame));
	ASSERT_EQ(8, frame.length);
	ASSERT_EQ(FRAME_HEARTBEAT, frame.type);

	frame_header(header, FRAME_HEARTBEAT, NULL, 0);
	ASSERT_EQ(0, memcmp(header, wire, 8));
}

TEST(known_echo)
{
	/* The check value of CRC-32: "123456789" gives cbf43926. */
	static const uint8_t wire[] = "\x00\x11\x00\x01\xcb\xf4\x39\x26" "123456789";
	uint8_t header[8];
	struct frame frame;

	ASSERT_EQ(FRAME_OK, parse_exact(wire, 17, 65535, &frame));
	ASSERT_EQ(17, frame.length);
	ASSERT_EQ(FRAME_ECHO, frame.type);

	frame_header(header, FRAME_ECHO, wire + 8, 9);
	ASSERT_EQ(0, memcmp(header, wire, 8));
}

TEST(echo_without_body)
{
	static const uint8_t wire[8] = { 0, 8, 0, 1, 0, 0, 0, 0 };
	struct frame frame;

	ASSERT_EQ(FRAME_OK, parse_exact(wire, 8, 65535, &frame));
	ASSERT_EQ(FRAME_ECHO, frame.type);
}

TEST(every_split)
{
	uint8_t wire[300];
	struct frame frame;
	size_t total = wire_echo(wire, 292, 1);

	for (size_t len = 0; len < total; len++) {
		ASSERT_EQ(FRAME_PARTIAL, parse_exact(wire, len, 65535, &frame));
		ASSERT_EQ(len < 8 ? 8 : total, frame.length);
	}
	ASSERT_EQ(FRAME_OK, parse_exact(wire, total, 65535, &frame));
	ASSERT_EQ(total, frame.length);
}

TEST(many_in_one_read)
{
	static uint8_t wire[1 << 20];
	size_t ends[1000], total = 0, used = 0;
	unsigned int seed = 2;
	struct frame frame;

	for (int i = 0; i < 1000; i++) {
		size_t body = rand_r(&seed) % 1000;

		if (i % 3) {
			total += wire_echo(wire + total, body, i);
		} else {
			wire_header(wire + total, 8, 0, 0);
			total += 8;
		}
		ends[i] = total;
	}
	for (int i = 0; i < 1000; i++) {
		ASSERT_EQ(FRAME_OK, frame_parse(wire + used, total - used, 65535, &frame));
		used += frame.length;
		ASSERT_EQ(ends[i], used);
		ASSERT_EQ(i % 3 ? FRAME_ECHO : FRAME_HEARTBEAT, frame.type);
	}
}

TEST(largest)
{
	static uint8_t wire[65535];
	struct frame frame;

	ASSERT_EQ(65535, wire_echo(wire, 65527, 3));
	ASSERT_EQ(FRAME_OK, parse_exact(wire, 65535, 65535, &frame));
	ASSERT_EQ(65535, frame.length);
	ASSERT_EQ(FRAME_PARTIAL, parse_exact(wire, 65534, 65535, &frame));
	ASSERT_EQ(FRAME_BAD_LENGTH, parse_exact(wire, 65535, 65534, &frame));
}

TEST(limit)
{
	uint8_t wire[128];
	struct frame frame;

	wire_echo(wire, 92, 4);
	ASSERT_EQ(FRAME_OK, parse_exact(wire, 100, 100, &frame));
	ASSERT_EQ(FRAME_BAD_LENGTH, parse_exact(wire, 100, 99, &frame));
	/* Refused at once: nobody keeps room for a body that is not wanted. */
	ASSERT_EQ(FRAME_BAD_LENGTH, parse_exact(wire, 8, 99, &frame));
}

TEST(bad_length)
{
	uint8_t wire[16] = { 0 };
	struct frame frame;

	for (uint32_t length = 0; length < 8; length++) {
		wire_header(wire, length, length % 2, 0);
		ASSERT_EQ(FRAME_BAD_LENGTH, parse_exact(wire, 8, 65535, &frame));
	}
	/* A heartbeat is a header alone, whatever its CRC says. */
	wire_header(wire, 9, 0, wire_crc(wire + 8, 1));
	ASSERT_EQ(FRAME_BAD_LENGTH, parse_exact(wire, 9, 65535, &frame));
}

TEST(bad_crc)
{
	uint8_t wire[64];
	struct frame frame;
	size_t total = wire_echo(wire, 40, 5);

	/* Any one wrong bit of CRC or body is seen. */
	for (size_t bit = 4 * 8; bit < total * 8; bit++) {
		wire[bit / 8] ^= 1 << bit % 8;
		ASSERT_EQ(FRAME_BAD_CRC, parse_exact(wire, total, 65535, &frame));
		wire[bit / 8] ^= 1 << bit % 8;
	}
	ASSERT_EQ(FRAME_OK, parse_exact(wire, total, 65535, &frame));

	wire_header(wire, 8, 0, 1);
	ASSERT_EQ(FRAME_BAD_CRC, parse_exact(wire, 8, 65535, &frame));
	wire_header(wire, 8, 1, 0x80000000);
	ASSERT_EQ(FRAME_BAD_CRC, parse_exact(wire, 8, 65535, &frame));
}

TEST(bad_type)
{
	uint8_t wire[8];
	struct frame frame;

	for (uint32_t type = 3; type < 65536; type++) {
		wire_header(wire, 8, type, 0);
		ASSERT_EQ(FRAME_BAD_TYPE, frame_parse(wire, 8, 65535, &frame));
	}
}

/* What a frame is follows from its bytes by the rules of the protocol alone. */
static enum frame_result reference_parse(const uint8_t *data, size_t len, uint32_t max)
{
	uint32_t length, type, crc = 0;

	if (len < 8)
		return FRAME_PARTIAL;
	length = data[0] << 8 | data[1];
	type = data[2] << 8 | data[3];
	for (int i = 0; i < 4; i++)
		crc = crc << 8 | data[4 + i];
	if (length < 8 || length > max || (type == 0 && length > 8))
		return FRAME_BAD_LENGTH;
	if (type > 2)
		return FRAME_BAD_TYPE;
	if (len < length)
		return FRAME_PARTIAL;
	return crc == (length > 8 ? wire_crc(data + 8, length - 8) : 0) ?
		FRAME_OK : FRAME_BAD_CRC;
}

TEST(garbage)
{
	unsigned int seed = 6, seen[5] = { 0 };
	uint8_t wire[64];
	struct frame frame;

	for (int i = 0; i < 500000; i++) {
		size_t len = rand_r(&seed) % (sizeof(wire) + 1);
		uint32_t max = 8 + rand_r(&seed) % 64;
		enum frame_result result;

		/* Small numbers in the header, so that every path is met. */
		for (size_t b = 0; b < sizeof(wire); b++)
			wire[b] = rand_r(&seed) >> 8;
		wire[0] = rand_r(&seed) % 16 ? 0 : wire[0];
		wire[1] %= 80;
		wire[2] = rand_r(&seed) % 16 ? 0 : wire[2];
		wire[3] %= 3;
		if (wire[1] >= 8 && rand_r(&seed) % 2)
			wire_header(wire, wire[1], wire[3], wire[1] > 8 && wire[1] <= 64 ?
				   wire_crc(wire + 8, wire[1] - 8) : 0);

		result = parse_exact(wire, len, max, &frame);
		ASSERT_EQ(reference_parse(wire, len, max), result);
		if (result == FRAME_OK)
			ASSERT_LE(frame.length, len);
		if (result == FRAME_PARTIAL)
			ASSERT_GT(frame.length, len);
		seen[result]++;
	}
	for (int i = 0; i < 5; i++)
		ASSERT_GT(seen[i], 1000);
}

TEST_HARNESS_MAIN
