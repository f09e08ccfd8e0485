// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stories: client A asks for work, and goes while it is done; client B comes and
 * must see nothing but its own.  Ten thousand of them, with random times, and
 * the same without what prevents the mix-up.
 *
 * SOCKBEAT_TEST_STORIES and SOCKBEAT_TEST_SECONDS change how many stories are
 * played, or for how long; SOCKBEAT_TEST_SOCKBEATD names another sockbeatd.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <sys/random.h>
#include "daemon_work.h"

struct stories {
	uint16_t port;
	atomic_int left;
	atomic_int played;
	atomic_int foreign;	/* answers that B did not ask for */
	atomic_int failed;	/* B got none */
	uint64_t until_ms;
	int bad_sums;		/* times that the pool did not add up */
	bool first_only;	/* end with the first foreign answer */
};

static int story_client(const struct stories *s)
{
	struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
	int fd = tcp_connect(AF_INET, "127.0.0.1", s->port), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static void story_sleep(int fd, uint32_t ms, uint8_t frame[SLEEP_BYTES])
{
	uint64_t token[2];

	if (getrandom(token, sizeof(token), 0) != sizeof(token))
		abort();
	put(fd, frame, wire_sleep(frame, ms, token, sizeof(token)));
}

static void story(struct stories *s, unsigned int *seed)
{
	uint8_t frame[SLEEP_BYTES], own[SLEEP_BYTES], got[SLEEP_BYTES];
	int a = story_client(s), b, n = 1 + rand_r(seed) % 3;

	for (int i = 0; i < n; i++)
		story_sleep(a, 1 + rand_r(seed) % 20, frame);
	usleep(rand_r(seed) % 15000);
	if (rand_r(seed) % 4)
		tcp_abort(a);
	else
		close(a);
	b = story_client(s);
	usleep(rand_r(seed) % 5000);
	story_sleep(b, 1 + rand_r(seed) % 20, own);
	if (recv(b, got, sizeof(got), MSG_WAITALL) != sizeof(got))
		atomic_fetch_add(&s->failed, 1);
	else if (memcmp(got, own, sizeof(own)))
		atomic_fetch_add(&s->foreign, 1);
	/* The answer was the last thing to come. */
	else if (recv(b, got, 1, MSG_DONTWAIT) > 0)
		atomic_fetch_add(&s->foreign, 1);
	if (rand_r(seed) % 2)
		tcp_abort(b);
	else
		close(b);
	atomic_fetch_add(&s->played, 1);
}

static void *play(void *arg)
{
	struct stories *s = arg;
	unsigned int seed = (uintptr_t)&seed >> 8;

	while ((s->until_ms ? now_ms() < s->until_ms : atomic_fetch_sub(&s->left, 1) > 0) &&
	       !(s->first_only && atomic_load(&s->foreign)))
		story(s, &seed);
	return NULL;
}

/* Every place is free, somebody's, or resting. */
static bool pool_adds_up(struct sockbeatd *d)
{
	long long slots, free, live, quarantined;
	char text[4096], *at;

	if (sockbeatd_stats(d, text, sizeof(text)))
		return false;
	at = strstr(text, "\"pool\":{");
	return at && sscanf(at, "\"pool\":{\"slots\":%lld,\"free\":%lld,\"live\":%lld,\"quarantined\":%lld",
			    &slots, &free, &live, &quarantined) == 4 &&
	       slots == free + live + quarantined;
}

static void play_all(struct stories *s, struct sockbeatd *d)
{
	pthread_t thread[32];

	for (size_t i = 0; i < ARRAY_SIZE(thread); i++)
		if (pthread_create(&thread[i], NULL, play, s))
			abort();
	/* Nobody else reads the log, which is a pipe. */
	for (size_t i = 0; i < ARRAY_SIZE(thread); i++)
		while (pthread_tryjoin_np(thread[i], NULL)) {
			log_more(d, now_ms() + 10);
			s->bad_sums += !s->first_only && !pool_adds_up(d);
		}
}

TEST_F_TIMEOUT(daemon, stories, 1200)
{
	const char *stories = getenv("SOCKBEAT_TEST_STORIES");
	const char *seconds = getenv("SOCKBEAT_TEST_SECONDS");
	struct stories s = { .left = stories ? atoi(stories) : 10000 };
	long long late;

	START("workers=64", "reactors=2", "pool_slots=256", "when_full=wait", "recycle_delay_ms=100");
	s.port = self->d.port;
	if (seconds)
		s.until_ms = now_ms() + atoi(seconds) * 1000;
	play_all(&s, &self->d);
	EXPECT_TRUE(jobs_add_up(self));
	late = work(self, "results_closed") + work(self, "results_reused");
	TH_LOG("%d stories, %d foreign answers, %lld late results and %lld jobs dropped, each of %lld places used %lld times",
	       s.played, s.foreign, late, work(self, "jobs_stale") + work(self, "jobs_dropped"),
	       pool(self, "slots"), sockbeatd_stat(&self->d, "", "accepted") / pool(self, "slots"));
	EXPECT_EQ(0, s.foreign);
	EXPECT_EQ(0, s.failed);
	EXPECT_EQ(0, s.bad_sums);
	EXPECT_LT(0, late);
	EXPECT_LT(0, work(self, "jobs_dropped"));
	/* Every place was used again and again. */
	EXPECT_LE(s.played / 512, sockbeatd_stat(&self->d, "session", "recycled") /
	      pool(self, "slots"));
}

/* Without quarantine and without a look at generations the same stories end
 * badly: that is what the tests above would see.
 */
TEST_F_TIMEOUT(daemon, stories_of_an_unsafe_server, 1200)
{
	struct stories s = { .left = 10000, .first_only = true };
	char path[PATH_MAX];

	program_path("../daemon-unsafe/sockbeatd", path);
	if (access(path, X_OK))
		program_path("sockbeatd-unsafe", path);
	if (strchr(path, '/') && access(path, X_OK))
		SKIP(return, "build/daemon-unsafe/sockbeatd was not built");
	setenv("SOCKBEAT_TEST_SOCKBEATD", path, 1);
	START("workers=64", "pool_slots=40", "when_full=wait");
	s.port = self->d.port;
	play_all(&s, &self->d);
	TH_LOG("foreign answer after %d stories", s.played);
	EXPECT_LT(0, s.foreign);
}

TEST_HARNESS_MAIN
