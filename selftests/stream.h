/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Chance, and streams of frames that follow from a seed: heartbeats, and data
 * that often looks like them.
 */
#ifndef SELFTESTS_STREAM_H
#define SELFTESTS_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define HEAD		4
#define BEAT_BYTES	12
#define DATA_MAX	3000
#define FRAME_MAX	(HEAD + DATA_MAX)

static inline uint64_t chance(uint64_t *state, uint64_t n)
{
	*state += 0x9e3779b97f4a7c15;
	uint64_t z = *state;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return ((z ^ (z >> 31)) >> 16) % n;
}

/* The frames of one client, in order. */
struct stream {
	uint64_t state;
	uint32_t made;
	uint32_t len;
	uint8_t frame[FRAME_MAX];
};

static inline void put_beat(struct stream *s, uint8_t *to)
{
	uint64_t value = chance(&s->state, UINT64_MAX) << 20 | s->made;

	memcpy(to, "HB\0\0", HEAD);
	memcpy(to + HEAD, &value, 8);
}

static inline void next_frame(struct stream *s)
{
	uint32_t n = 0, body;

	s->made++;
	if (chance(&s->state, 5) < 3) {
		put_beat(s, s->frame);
		s->len = BEAT_BYTES;
		return;
	}
	body = chance(&s->state, 8) ? chance(&s->state, 60) : chance(&s->state, DATA_MAX + 1);
	s->frame[0] = 'D';
	s->frame[1] = 0;
	s->frame[2] = body >> 8;
	s->frame[3] = body;
	if (chance(&s->state, 2))
		for (; n + BEAT_BYTES <= body; n += BEAT_BYTES)
			put_beat(s, s->frame + HEAD + n);
	for (; n < body; n++)
		s->frame[HEAD + n] = chance(&s->state, 256);
	s->len = HEAD + body;
}

static inline bool is_beat(const uint8_t *frame)
{
	return frame[0] == 'H';
}

static inline uint32_t frame_len(const uint8_t *frame)
{
	return is_beat(frame) ? BEAT_BYTES : HEAD + (frame[2] << 8 | frame[3]);
}

static inline void answer(uint8_t *to, const uint8_t *frame, uint32_t len)
{
	memcpy(to, frame, len);
	to[0] |= 0x20;
	if (is_beat(frame))
		to[1] |= 0x20;
	else
		for (uint32_t i = HEAD; i < len; i++)
			to[i] ^= 0x5a;
}

#endif /* SELFTESTS_STREAM_H */
