/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What threads that do anything at any time share: a generator of numbers, and
 * descriptors that each of them may take away from the others.
 */
#ifndef SELFTESTS_RANDOM_H
#define SELFTESTS_RANDOM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

struct rnd {
	uint64_t state;
};

/* SplitMix64, Steele et al. 2014. */
static inline uint64_t rnd_next(struct rnd *rnd)
{
	uint64_t z = rnd->state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static inline uint32_t rnd_below(struct rnd *rnd, uint32_t n)
{
	return (rnd_next(rnd) >> 32) * n >> 32;
}

static inline bool rnd_percent(struct rnd *rnd, uint32_t percent)
{
	return rnd_below(rnd, 100) < percent;
}

/* Whoever takes a descriptor out is the only one who closes it. */
static inline void fd_replace(atomic_int *slot, int fd)
{
	int old = atomic_exchange(slot, fd);

	if (old > 0)
		close(old);
}

#endif /* SELFTESTS_RANDOM_H */
