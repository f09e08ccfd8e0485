// SPDX-License-Identifier: GPL-2.0-only
/*
 * The library on its builtin engine: what both engines promise, and what only
 * this one can show.
 */
#define _GNU_SOURCE
#define ENGINE SOCKBEAT_ENGINE_BUILTIN
#include "engine_tests.h"
#include "builtin.h"

/* Who is heard before the news of its silence was fetched is not mentioned. */
TEST_F(session, heard_before_told)
{
	struct sockbeat_event event[2];
	uint64_t handle[2];

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 300, .renotify_ms = 60000 });
	handle[0] = add(_metadata, self, self->v4.server, 0);
	handle[1] = add(_metadata, self, self->v6.server, 0);
	ASSERT_EQ(1, events_until(_metadata, self, event, 1, clock_ms() + PATIENCE_MS));
	ASSERT_EQ(handle[0], event[0].handle);
	ASSERT_EQ(2, stats_of(_metadata, self).silences);
	ASSERT_EQ(2, stats_of(_metadata, self).silent);
	send_byte(_metadata, self, self->v6.client);
	ASSERT_EQ(0, sockbeat_events(self->sb, event, 2));
	ASSERT_EQ(SOCKBEAT_STATE_LIVE, info_of(_metadata, self, handle[1]).state);
	ASSERT_EQ(1, stats_of(_metadata, self).recoveries);
	event_of(_metadata, self, SILENT, handle[1], 300 + LATE_MS);
}

/* No handle is 0, and the last owner's is nobody's. */
TEST_F(session, generation_wraps)
{
	struct sockbeat_info info;
	uint64_t last;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 1 });
	forget(_metadata, self, add(_metadata, self, self->v4.server, 0));
	peer_at(self->sb->data, 0)->generation = UINT32_MAX - 1;
	last = add(_metadata, self, self->v4.server, 0);
	ASSERT_EQ(0xffffffffull << 32, last);
	ASSERT_EQ(0, sockbeat_conn_get(self->sb, last));
	sockbeat_conn_put(self->sb, last);
	retire(_metadata, self, last, 0);
	ASSERT_EQ(1ull << 32, add(_metadata, self, self->v4.server, 0));
	ASSERT_EQ(-ENOENT, sockbeat_get(self->sb, last, &info));
	ASSERT_EQ(-ESTALE, sockbeat_conn_get(self->sb, last));
}

/* One tick looks at 16384 peers, the rest comes with the next. */
TEST_F_TIMEOUT(session, bounded_tick, 120)
{
	enum { N = 17000 };
	static struct sockbeat_peer peer[N];
	static struct sockbeat_event event[N];
	static struct pair pairs[N / 2];
	uint64_t wait_ms;
	int i, n, total = 0;

	if (want_fds(N))
		SKIP(return, "RLIMIT_NOFILE cannot be raised for %d sockets", N);
	start(_metadata, self, (struct sockbeat_opts){ .capacity = N, .timeout_ms = 100,
						       .trigger = SOCKBEAT_TRIGGER_EDGE });
	ASSERT_EQ(0, tcp_pairs(AF_INET, pairs, N / 2));
	for (i = 0; i < N; i++)
		peer[i].fd = i % 2 ? pairs[i / 2].server : pairs[i / 2].client;
	ASSERT_EQ(N, sockbeat_add(self->sb, peer, N));
	/* The reader comes late: all are due in its first tick. */
	wait_ms = clock_ms() + 300;
	while (clock_ms() < wait_ms)
		poll(NULL, 0, wait_ms - clock_ms());
	ASSERT_EQ(16384, sockbeat_events(self->sb, event, N));
	ASSERT_EQ(16384, stats_of(_metadata, self).checks);
	ASSERT_EQ(1, stats_of(_metadata, self).postponed);
	total = 16384;
	while (total < N) {
		n = events_until(_metadata, self, event, N, clock_ms() + PATIENCE_MS);
		ASSERT_LT(0, n);
		total += n;
	}
	ASSERT_EQ(N, stats_of(_metadata, self).silences);
	for (i = 0; i < N / 2; i++)
		tcp_abort(pairs[i].client);
}

/* Without the module the automatic choice is this engine, and it says why. */
TEST(automatic)
{
	struct sockbeat_opts opts = { .engine = SOCKBEAT_ENGINE_KERNEL };
	struct sockbeat *sb;
	int err;

	err = sockbeat_open(&sb, &opts);
	if (!err) {
		sockbeat_close(sb);
		SKIP(return, "the module is loaded here");
	}
	ASSERT_EQ(SOCKBEAT_ENGINE_AUTO, sockbeat_engine(sb));
	ASSERT_NE(NULL, strstr(sockbeat_strerror(sb), "sockbeat"));
	sockbeat_close(sb);

	ASSERT_EQ(0, sockbeat_open(&sb, NULL));
	ASSERT_EQ(SOCKBEAT_ENGINE_BUILTIN, sockbeat_engine(sb));
	ASSERT_EQ(65536, sockbeat_capacity(sb));
	ASSERT_EQ(-1, sockbeat_session_fd(sb));
	TH_LOG("builtin engine: %s", sockbeat_engine_reason(sb));
	ASSERT_NE(NULL, strstr(sockbeat_engine_reason(sb), "sockbeat"));
	ASSERT_STREQ("no error", sockbeat_strerror(sb));
	sockbeat_close(sb);

	/* An adopted session can only be the module's. */
	ASSERT_GT(0, sockbeat_adopt(&sb, 0));
	ASSERT_NE(NULL, strstr(sockbeat_strerror(sb), "sockbeat"));
	sockbeat_close(sb);
	sockbeat_close(NULL);
	ASSERT_STREQ("no memory", sockbeat_strerror(NULL));
}

TEST_HARNESS_MAIN
