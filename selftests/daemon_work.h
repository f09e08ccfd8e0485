/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Work for sockbeatd's workers, and what it says of it.
 */
#ifndef SELFTESTS_DAEMON_WORK_H
#define SELFTESTS_DAEMON_WORK_H

#include "daemon_fixture.h"

#define TOKEN_BYTES	16
#define SLEEP_BYTES	(12 + TOKEN_BYTES)

static inline long long work(FIXTURE_DATA(daemon) *self, const char *key)
{
	return sockbeatd_stat(&self->d, "work", key);
}

static inline bool work_reaches(FIXTURE_DATA(daemon) *self, const char *key, long long value)
{
	return sockbeatd_stat_wait(&self->d, "work", key, value) >= value;
}

static inline long long pool(FIXTURE_DATA(daemon) *self, const char *key)
{
	return sockbeatd_stat(&self->d, "pool", key);
}

/* Ask for a sleep. The answer will be the same bytes. */
static inline bool ask(int fd, uint32_t ms, const char *token, uint8_t frame[SLEEP_BYTES])
{
	char padded[TOKEN_BYTES] = "";

	snprintf(padded, sizeof(padded), "%s", token);
	return put(fd, frame, wire_sleep(frame, ms, padded, sizeof(padded)));
}

/* Whether every job has an end, once none is under way. */
static inline bool jobs_add_up(FIXTURE_DATA(daemon) *self)
{
	static const char *const ends[] = { "jobs_done", "jobs_stale", "jobs_dropped",
					    "results_closed", "results_reused" };
	uint64_t until_ms = now_ms() + PATIENCE_MS;
	long long sum;

	do {
		sum = 0;
		for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
			sum += work(self, ends[i]);
		if (sum == work(self, "jobs") && !work(self, "waiting") && !work(self, "running"))
			return true;
	} while (now_ms() < until_ms);
	return false;
}

#endif /* SELFTESTS_DAEMON_WORK_H */
