/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What libsockbeat promises on either engine.  unit_engine.c runs this on the
 * builtin engine, engine_kernel.c on the module: the includer defines ENGINE.
 */
#ifndef SELFTESTS_ENGINE_TESTS_H
#define SELFTESTS_ENGINE_TESTS_H

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <time.h>

#include "libsockbeat.h"
#include "tcp.h"
#include "harness.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

#define TICK_MS		100
#define LATE_MS		(2 * TICK_MS)

/* How much longer to wait for what must come: an emulated guest on a busy host
 * may stand still for a while.  How late it came is asked where that matters.
 */
#define PATIENCE_MS	3000

#define SILENT		SOCKBEAT_EVENT_KIND_SILENT
#define HEARD		SOCKBEAT_EVENT_KIND_HEARD
#define GONE		SOCKBEAT_EVENT_KIND_GONE

static uint64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}

/* These tests keep time.  A host that is busy or held may keep all of a test's
 * threads from running: what fails then says nothing, and unit.mk, which reads
 * this line, runs the program once more.
 */
#define STOOD_STILL_MS	100

struct watch {
	pthread_t thread;
	atomic_bool stop;
	uint64_t worst_ms;	/* the thread's, until it was joined */
};

static void *watch_time(void *arg)
{
	struct watch *watch = arg;
	uint64_t last_ms = clock_ms(), now_ms;

	while (!atomic_load(&watch->stop)) {
		poll(NULL, 0, 10);
		now_ms = clock_ms();
		if (now_ms - last_ms > watch->worst_ms)
			watch->worst_ms = now_ms - last_ms;
		last_ms = now_ms;
	}
	return NULL;
}

FIXTURE(session) {
	struct sockbeat *sb;
	struct watch watch;
	struct pair v4;
	struct pair v6;
	uint64_t added_ms;	/* just before the last add */
};

FIXTURE_SETUP(session)
{
	ASSERT_EQ(0, tcp_pairs(AF_INET, &self->v4, 1));
	ASSERT_EQ(0, tcp_pairs(AF_INET6, &self->v6, 1));
	self->sb = NULL;
	atomic_store(&self->watch.stop, false);
	self->watch.worst_ms = 0;
	ASSERT_EQ(0, pthread_create(&self->watch.thread, NULL, watch_time, &self->watch));
}

FIXTURE_TEARDOWN(session)
{
	sockbeat_close(self->sb);
	tcp_pair_close(&self->v4);
	tcp_pair_close(&self->v6);
	atomic_store(&self->watch.stop, true);
	pthread_join(self->watch.thread, NULL);
	if (self->watch.worst_ms > STOOD_STILL_MS)
		TH_LOG("stood still for %" PRIu64 " ms", self->watch.worst_ms);
}

#define SELF	struct __test_metadata *_metadata, FIXTURE_DATA(session) *self

static void start(SELF, struct sockbeat_opts opts)
{
	int err;

	opts.engine = ENGINE;
	err = sockbeat_open(&self->sb, &opts);
	ASSERT_EQ(0, err) TH_LOG("%s", sockbeat_strerror(self->sb));
	ASSERT_EQ(ENGINE, sockbeat_engine(self->sb));
}

static uint64_t add_as(SELF, int fd, uint64_t user_data, struct sockbeat_peer peer)
{
	peer.fd = fd;
	peer.user_data = user_data;
	self->added_ms = clock_ms();
	ASSERT_EQ(1, sockbeat_add(self->sb, &peer, 1)) TH_LOG("%s", sockbeat_strerror(self->sb));
	ASSERT_EQ(0, peer.error);
	ASSERT_NE(0, peer.handle);
	return peer.handle;
}

static uint64_t add(SELF, int fd, uint64_t user_data)
{
	return add_as(_metadata, self, fd, user_data, (struct sockbeat_peer){ 0 });
}

static void send_byte(SELF, int fd)
{
	ASSERT_EQ(1, send(fd, "x", 1, MSG_NOSIGNAL));
}

/* Up to @max events, as soon as there are some; none only when time is up. */
static int events_until(SELF, struct sockbeat_event *events, int max, uint64_t end_ms)
{
	struct pollfd pfd = { .fd = sockbeat_fd(self->sb), .events = POLLIN };
	uint64_t now_ms;
	int n = 0;

	while (!n && (now_ms = clock_ms()) < end_ms) {
		ASSERT_LE(0, poll(&pfd, 1, end_ms - now_ms));
		n = sockbeat_events(self->sb, events, max);
		ASSERT_LE(0, n) TH_LOG("%s", sockbeat_strerror(self->sb));
	}
	return n;
}

/* The one event that is due within @wait_ms, checked. */
static struct sockbeat_event event_of(SELF, enum sockbeat_event_kind kind, uint64_t handle,
				      unsigned int wait_ms)
{
	struct sockbeat_event event;

	ASSERT_EQ(1, events_until(_metadata, self, &event, 1,
				  clock_ms() + wait_ms + PATIENCE_MS))
		TH_LOG("no event in %u ms", wait_ms + PATIENCE_MS);
	ASSERT_EQ(kind, event.kind);
	ASSERT_EQ(handle, event.handle);
	return event;
}

static void quiet(SELF, unsigned int wait_ms)
{
	struct sockbeat_event event;

	ASSERT_EQ(0, events_until(_metadata, self, &event, 1, clock_ms() + wait_ms))
		TH_LOG("event %d of %#" PRIx64 ", idle %" PRIu64 " ms", event.kind, event.handle,
		       event.idle_ms);
}

static struct sockbeat_info info_of(SELF, uint64_t handle)
{
	struct sockbeat_info info;

	ASSERT_EQ(0, sockbeat_get(self->sb, handle, &info))
		TH_LOG("%s", sockbeat_strerror(self->sb));
	return info;
}

static struct sockbeat_stats stats_of(SELF)
{
	struct sockbeat_stats stats;

	ASSERT_EQ(0, sockbeat_get_stats(self->sb, &stats));
	return stats;
}

static void forget(SELF, uint64_t handle)
{
	ASSERT_EQ(1, sockbeat_del(self->sb, &handle, 1)) TH_LOG("%s", sockbeat_strerror(self->sb));
}

/* Have room for @n descriptors and a few more. */
static int want_fds(rlim_t n)
{
	struct rlimit limit;

	n += 100;
	if (getrlimit(RLIMIT_NOFILE, &limit))
		return -1;
	if (limit.rlim_cur >= n)
		return 0;
	limit.rlim_cur = n;
	if (limit.rlim_max < n)
		limit.rlim_max = n;
	return setrlimit(RLIMIT_NOFILE, &limit);
}

/* How many peers to test with: fewer on request, for kernels that are slow with
 * debugging.
 */
static int test_peers(int max)
{
	const char *fewer = getenv("SOCKBEAT_TEST_PEERS");

	return fewer && atoi(fewer) < max ? atoi(fewer) : max;
}

/* An error text names all of these. */
static void says(SELF, const char *a, const char *b, const char *c)
{
	const char *text = sockbeat_strerror(self->sb);

	EXPECT_TRUE(strstr(text, a) && strstr(text, b) && strstr(text, c))
		TH_LOG("'%s' lacks '%s', '%s' or '%s'", text, a, b, c);
}

#include "engine_silence.h"
#include "engine_batch.h"
#include "engine_recycle.h"
#include "engine_offload.h"
#include "engine_act.h"

#endif /* SELFTESTS_ENGINE_TESTS_H */
