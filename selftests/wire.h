/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Native frames, made without the code under test.
 */
#ifndef SELFTESTS_WIRE_H
#define SELFTESTS_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* CRC-32 of IEEE 802.3, bit by bit. */
static inline uint32_t wire_crc(const uint8_t *data, size_t len)
{
	uint32_t crc = ~0u;

	while (len--) {
		crc ^= *data++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

static inline void wire_header(uint8_t *frame, uint32_t length, uint32_t type, uint32_t crc)
{
	frame[0] = length >> 8;
	frame[1] = length;
	frame[2] = type >> 8;
	frame[3] = type;
	for (int i = 0; i < 4; i++)
		frame[4 + i] = crc >> (24 - 8 * i);
}

/* An echo request with a body made from a seed. Returns its length. */
static inline size_t wire_echo(uint8_t *frame, size_t body_len, unsigned int seed)
{
	for (size_t i = 0; i < body_len; i++)
		frame[8 + i] = rand_r(&seed) >> 8;
	wire_header(frame, 8 + body_len, 1, body_len ? wire_crc(frame + 8, body_len) : 0);
	return 8 + body_len;
}

/* A sleep request; what follows the time comes back with it. */
static inline size_t wire_sleep(uint8_t *frame, uint32_t ms, const void *token, size_t len)
{
	for (int i = 0; i < 4; i++)
		frame[8 + i] = ms >> (24 - 8 * i);
	for (size_t i = 0; i < len; i++)
		frame[12 + i] = ((const uint8_t *)token)[i];
	wire_header(frame, 12 + len, 2, wire_crc(frame + 8, 4 + len));
	return 12 + len;
}

/* @n heartbeats, one after the other. */
static inline void wire_heartbeats(uint8_t *frames, size_t n)
{
	for (size_t i = 0; i < n; i++)
		wire_header(frames + 8 * i, 8, 0, 0);
}

static const uint8_t wire_heartbeat[8] = { 0, 8 };

#endif /* SELFTESTS_WIRE_H */
