/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the fuzz_*.c share. selftests/fuzz builds and runs them.
 */
#ifndef SELFTESTS_FUZZ_H
#define SELFTESTS_FUZZ_H

#include <sanitizer/asan_interface.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Unlike assert(), in every build. */
#define CHECK(condition) do {							\
	if (!(condition)) {							\
		fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
		abort();							\
	}									\
} while (0)

/**
 * struct fuzz_input - bytes that decide what a run does
 * @at: the next
 * @left: how many there are
 */
struct fuzz_input {
	const uint8_t *at;
	size_t left;
};

static inline uint8_t fuzz_byte(struct fuzz_input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->at++;
}

static inline uint16_t fuzz_u16(struct fuzz_input *in)
{
	uint16_t high = fuzz_byte(in);

	return high << 8 | fuzz_byte(in);
}

/**
 * struct fuzz_stream - bytes that arrive one piece after the other
 * @data: all of them, in a block of just that size
 * @len: how many
 * @arrived: how many of them may be looked at; a sanitizer sees who looks further
 * @cut: lengths of the pieces, by turns, 0 for one of 256
 * @n_cuts: how many; without any a piece is one byte
 * @turn: whose turn it is
 */
struct fuzz_stream {
	uint8_t *data;
	size_t len;
	size_t arrived;
	uint8_t cut[15];
	unsigned int n_cuts;
	unsigned int turn;
};

/* The low half of @how is how many lengths of pieces follow in @in. */
static inline void fuzz_stream_cuts(struct fuzz_stream *s, uint8_t how, struct fuzz_input *in)
{
	memset(s, 0, sizeof(*s));
	s->n_cuts = how & 15;
	for (unsigned int i = 0; i < s->n_cuts; i++)
		s->cut[i] = fuzz_byte(in);
}

static inline void fuzz_stream_fill(struct fuzz_stream *s, const uint8_t *data, size_t len)
{
	s->data = malloc(len ? len : 1);
	CHECK(s->data);
	if (len)
		memcpy(s->data, data, len);
	s->len = s->arrived = len;
}

static inline void fuzz_stream_restart(struct fuzz_stream *s)
{
	s->arrived = s->turn = 0;
	__asan_poison_memory_region(s->data, s->len);
}

/* The next piece. Returns whether there was one. */
static inline bool fuzz_stream_more(struct fuzz_stream *s)
{
	size_t piece = 1;

	if (s->arrived == s->len)
		return false;
	if (s->n_cuts) {
		piece = s->cut[s->turn++ % s->n_cuts];
		if (!piece)
			piece = 256;
	}
	if (piece > s->len - s->arrived)
		piece = s->len - s->arrived;
	s->arrived += piece;
	__asan_unpoison_memory_region(s->data, s->arrived);
	return true;
}

static inline void fuzz_stream_free(struct fuzz_stream *s)
{
	__asan_unpoison_memory_region(s->data, s->len);
	free(s->data);
}

#endif /* SELFTESTS_FUZZ_H */
