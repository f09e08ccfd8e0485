// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tunables: default, bounds, what is said to a wrong value, and the effect.
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/stat.h>
#include "client.h"
#include "param.h"
#include "tcp.h"
#include "harness.h"

/* Whether the kernel's log since the fd was opened has a line with this. */
static bool kmsg_has(int fd, const char *text)
{
	char line[1024];
	ssize_t len;

	while ((len = read(fd, line, sizeof(line) - 1)) > 0 || errno == EPIPE) {
		line[len > 0 ? len : 0] = '\0';
		if (strstr(line, text))
			return true;
	}
	return false;
}

FIXTURE(params) {
	struct client c;
};

FIXTURE_SETUP(params)
{
	ASSERT_EQ(0, client_open(&self->c));
}

FIXTURE_TEARDOWN(params)
{
	client_close(&self->c);
}

TEST_F(params, defaults_and_bounds)
{
	static const struct { const char *name; long initial, min, max; } rows[] = {
		{ "default_timeout_ms", 60000, 100, 604800000 },
		{ "renotify_ms", 5000, 100, 604800000 },
		{ "recycle_delay_ms", 60000, 0, 604800000 },
		{ "first_generation", 1, 1, 4294967295 },
		{ "tick_ms", 100, 10, 1000 },
		{ "max_expire_per_tick", 16384, 64, 1048576 },
		{ "max_peers_per_user", 4194304, 1, 1073741824 },
		{ "max_sessions_per_user", 1024, 1, 1048576 },
		{ "default_action", 0, 0, 2 },
		{ "act_after_ms", 0, 0, 604800000 },
		{ "suspect_percent", 0, 0, 99 },
		{ "adaptive_beats", 0, 0, 15 },
		{ "adaptive_min_ms", 10000, 100, 604800000 },
		{ "guard_percent", 0, 0, 100 },
		{ "guard_window_ms", 10000, 100, 604800000 },
	};
	char value[32], said[128];
	unsigned int i;
	int kmsg;

	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	ASSERT_LE(0, kmsg);
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		EXPECT_EQ(rows[i].initial, param_read(rows[i].name)) TH_LOG("%s", rows[i].name);
		lseek(kmsg, 0, SEEK_END);
		snprintf(value, sizeof(value), "%ld\n", rows[i].min - 1);
		/* What is below 0 is no number here. */
		EXPECT_EQ(rows[i].min ? -ERANGE : -EINVAL, param_write(rows[i].name, value));
		snprintf(said, sizeof(said), "sockbeat: %s: %ld is not a number from %ld to %ld",
			 rows[i].name, rows[i].min - 1, rows[i].min, rows[i].max);
		EXPECT_TRUE(kmsg_has(kmsg, said)) TH_LOG("not in the log: %s", said);
		snprintf(value, sizeof(value), "%ld\n", rows[i].max + 1);
		EXPECT_EQ(-ERANGE, param_write(rows[i].name, value));
		EXPECT_EQ(-EINVAL, param_write(rows[i].name, "12x\n"));
		EXPECT_EQ(rows[i].initial, param_read(rows[i].name));
		snprintf(value, sizeof(value), "%ld\n", rows[i].min);
		EXPECT_EQ(0, param_write(rows[i].name, value));
		EXPECT_EQ(rows[i].min, param_read(rows[i].name));
		snprintf(value, sizeof(value), "%ld\n", rows[i].initial);
		EXPECT_EQ(0, param_write(rows[i].name, value));
	}
	close(kmsg);
}

TEST_F(params, apply_to_sessions_made_later)
{
	struct session_reply r;
	int before, after;

	before = client_session_new(&self->c, 1, 0, 0, 0, NULL);
	ASSERT_LE(0, before);
	EXPECT_EQ(0, param_write("default_timeout_ms", "1500"));
	EXPECT_EQ(0, param_write("renotify_ms", "1600"));
	EXPECT_EQ(0, param_write("recycle_delay_ms", "1700"));
	EXPECT_EQ(0, param_write("tick_ms", "50"));
	after = client_session_new(&self->c, 1, 0, 0, 0, NULL);
	EXPECT_EQ(0, param_write("default_timeout_ms", "60000"));
	EXPECT_EQ(0, param_write("renotify_ms", "5000"));
	EXPECT_EQ(0, param_write("recycle_delay_ms", "60000"));
	EXPECT_EQ(0, param_write("tick_ms", "100"));
	ASSERT_LE(0, after);
	ASSERT_EQ(0, client_session_get(&self->c, before, &r));
	EXPECT_EQ(60000, r.session.v[SOCKBEAT_A_SESSION_TIMEOUT_MS]);
	EXPECT_EQ(100, r.session.v[SOCKBEAT_A_SESSION_TICK_MS]);
	ASSERT_EQ(0, client_session_get(&self->c, after, &r));
	EXPECT_EQ(1500, r.session.v[SOCKBEAT_A_SESSION_TIMEOUT_MS]);
	EXPECT_EQ(1600, r.session.v[SOCKBEAT_A_SESSION_RENOTIFY_MS]);
	EXPECT_EQ(1700, r.session.v[SOCKBEAT_A_SESSION_RECYCLE_DELAY_MS]);
	EXPECT_EQ(50, r.session.v[SOCKBEAT_A_SESSION_TICK_MS]);
	close(before);
	close(after);
}

TEST_F(params, max_sessions_per_user)
{
	int a, b;

	EXPECT_EQ(0, param_write("max_sessions_per_user", "2"));
	a = client_session_new(&self->c, 1, 0, 0, 0, NULL);
	b = client_session_new(&self->c, 1, 0, 0, 0, NULL);
	EXPECT_LE(0, a);
	EXPECT_LE(0, b);
	EXPECT_EQ(-EDQUOT, client_session_new(&self->c, 1, 0, 0, 0, NULL));
	EXPECT_STREQ("this user has max_sessions_per_user sessions", self->c.why);
	close(a);
	a = client_session_new(&self->c, 1, 0, 0, 0, NULL);
	EXPECT_LE(0, a);
	EXPECT_EQ(0, param_write("max_sessions_per_user", "1024"));
	close(a);
	close(b);
}

/* What counts is the room for peers: it takes memory, used or not. */
TEST_F(params, max_peers_per_user)
{
	int a, b;

	EXPECT_EQ(0, param_write("max_peers_per_user", "100"));
	EXPECT_EQ(-EDQUOT, client_session_new(&self->c, 101, 0, 0, 0, NULL));
	EXPECT_STREQ("capacity is more than max_peers_per_user leaves this user", self->c.why);
	a = client_session_new(&self->c, 60, 0, 0, 0, NULL);
	EXPECT_LE(0, a);
	EXPECT_EQ(-EDQUOT, client_session_new(&self->c, 41, 0, 0, 0, NULL));
	b = client_session_new(&self->c, 40, 0, 0, 0, NULL);
	EXPECT_LE(0, b);
	/* The end of a session gives its room back. */
	close(a);
	a = client_session_new(&self->c, 60, 0, 0, 0, NULL);
	EXPECT_LE(0, a);
	close(a);
	close(b);
	EXPECT_EQ(0, param_write("max_peers_per_user", "4194304"));
}

/* With 64 expiries a tick, 300 peers that fall silent together take five
 * ticks, none is lost, and the ticks that left some are counted.
 */
TEST_F(params, max_expire_per_tick)
{
	struct peer_conf conf = { 300, KEEP, KEEP, 0 };
	static struct pair pairs[300];
	static uint64_t handles[300];
	static int fds[300];
	struct client sink;
	struct event ev[64];
	int session, i, n, got = 0;

	ASSERT_EQ(0, client_open(&sink));
	ASSERT_EQ(0, tcp_pairs(AF_INET, pairs, 300));
	for (i = 0; i < 300; i++)
		fds[i] = pairs[i].server;
	session = client_session_new(&sink, 300, 0, 0, SOCKBEAT_TRIGGER_EDGE, NULL);
	ASSERT_LE(0, session);
	EXPECT_EQ(0, param_write("max_expire_per_tick", "64"));
	ASSERT_EQ(0, client_add(&self->c, session, fds, 150, &conf, handles));
	ASSERT_EQ(0, client_add(&self->c, session, fds + 150, 150, &conf, handles + 150));
	while (got < 300) {
		n = client_events(&sink, ev, 64, now_ms() + 10000);
		ASSERT_LT(0, n);
		got += n;
	}
	EXPECT_EQ(300, got);
	EXPECT_LE(4, client_stat(&self->c, session, SOCKBEAT_A_STATS_POSTPONED));
	EXPECT_EQ(0, param_write("max_expire_per_tick", "16384"));
	close(session);
	client_close(&sink);
	for (i = 0; i < 300; i++)
		tcp_pair_close(&pairs[i]);
}

#define CGROUP	"/sys/fs/cgroup/params"

static long memory_kib(void)
{
	long bytes = file_number(CGROUP "/memory.current");

	return bytes < 0 ? -1 : bytes / 1024;
}

/* Whoever makes a session pays for it, the pages that he touches included, until
 * it is gone.
 */
TEST_F(params, memory_is_charged_and_comes_back)
{
	const size_t n = 1 << 20, bytes = n * sizeof(struct sockbeat_slot);
	uint64_t until_ms;
	long before, with;
	char *slots;
	int session;

	ASSERT_EQ(0, sh("echo +memory >/sys/fs/cgroup/cgroup.subtree_control"));
	mkdir(CGROUP, 0755);
	ASSERT_EQ(0, sh("echo %d >" CGROUP "/cgroup.procs", getpid()));
	before = memory_kib();
	ASSERT_LE(0, before);
	session = client_session_new(&self->c, n, 60000, 0, SOCKBEAT_TRIGGER_EDGE, NULL);
	ASSERT_LE(0, session);
	slots = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, session, 0);
	ASSERT_NE(MAP_FAILED, slots);
	for (size_t i = 0; i < bytes; i += 4096)
		slots[i] = 1;
	with = memory_kib() - before;
	/* A slot's record, and what the module keeps of it, all but exactly. */
	EXPECT_LE((long)(n * (sizeof(struct sockbeat_slot) + 16) / 1024) - 1024, with);
	EXPECT_EQ(0, munmap(slots, bytes));
	close(session);
	until_ms = now_ms() + 20000;
	while (memory_kib() - before > 4096 && now_ms() < until_ms)
		usleep(20000);
	TH_LOG("%ld KiB with the session, %ld after it", with, memory_kib() - before);
	EXPECT_GE(4096, memory_kib() - before);
	ASSERT_EQ(0, sh("echo %d >/sys/fs/cgroup/cgroup.procs", getpid()));
	rmdir(CGROUP);
}

TEST_HARNESS_MAIN
