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
	uint64_t handle[2], due_ms;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 300, .renotify_ms = 60000 });
	handle[0] = add(_metadata, self, self->v4.server, 0);
	handle[1] = add(_metadata, self, self->v6.server, 0);
	/* One look at the wheel finds both, however long the adding took. */
	due_ms = clock_ms() + 300 + LATE_MS;
	while (clock_ms() < due_ms)
		usleep(1000);
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

/* Who was suspect, and heard before that was told, is warned of in its time. */
TEST_F(session, suspicion_ends_untold)
{
	struct sockbeat_event event[2];
	uint64_t handle[2], due_ms;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 20000, .trigger = 1,
						       .suspect_percent = 2 });
	handle[0] = add(_metadata, self, self->v4.server, 0);
	handle[1] = add(_metadata, self, self->v6.server, 0);
	due_ms = clock_ms() + 400 + LATE_MS;
	while (clock_ms() < due_ms)
		usleep(1000);
	ASSERT_EQ(1, events_until(_metadata, self, event, 1, clock_ms() + PATIENCE_MS));
	ASSERT_EQ(handle[0], event[0].handle);
	ASSERT_EQ(2, stats_of(_metadata, self).suspects);
	send_byte(_metadata, self, self->v6.client);
	due_ms = clock_ms() + 10000;
	ASSERT_EQ(0, sockbeat_events(self->sb, event, 2));
	event_of(_metadata, self, SOCKBEAT_EVENT_KIND_SUSPECT, handle[1], 400 + LATE_MS);
	ASSERT_GT(due_ms, clock_ms());
}

/* Those that a guard has kept are ended soon after it. */
TEST_F(session, ended_after_the_guard)
{
	struct sockbeat_event event[20];
	int n, gone = 0, dead = 4, all = 20;
	uint64_t over_ms = 0, end_ms;
	struct pair pair[20];

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 10000, .trigger = 1,
		.action = SOCKBEAT_ACTION_ABORT, .guard_percent = 50, .guard_window_ms = 300 });
	ASSERT_EQ(0, tcp_pairs(AF_INET, pair, all));
	for (int i = 0; i < all; i++)
		add(_metadata, self, pair[i].server, i);
	while (!stats_of(_metadata, self).guards)
		ASSERT_LE(0, events_until(_metadata, self, event, all, clock_ms() + 1000));
	/* The first look at those that it keeps. */
	while (!stats_of(_metadata, self).acts_guarded)
		ASSERT_LE(0, events_until(_metadata, self, event, all, clock_ms() + 100));
	for (int i = dead; i < all; i++)
		send_byte(_metadata, self, pair[i].client);
	for (end_ms = clock_ms() + PATIENCE_MS; gone < dead && clock_ms() < end_ms;) {
		n = events_until(_metadata, self, event, all, clock_ms() + 100);
		for (int i = 0; i < n; i++) {
			if (event[i].kind == SOCKBEAT_EVENT_KIND_GUARD_OVER)
				over_ms = clock_ms();
			gone += event[i].kind == SOCKBEAT_EVENT_KIND_GONE;
		}
	}
	EXPECT_EQ(dead, gone);
	EXPECT_NE(0, over_ms);
	EXPECT_GT(over_ms + 5000, clock_ms());
	for (int i = 0; i < all; i++)
		tcp_pair_close(&pair[i]);
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

/* A quarantine whose end nobody was told of can be made longer. */
TEST_F(session, extended_before_told)
{
	uint64_t handle, start_ms;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 1 });
	handle = add(_metadata, self, self->v4.server, 0);
	ASSERT_EQ(0, sockbeat_conn_get(self->sb, handle));
	start_ms = clock_ms();
	retire(_metadata, self, handle, 0);
	ASSERT_EQ(1, sockbeat_extend(self->sb, &handle, 1, 400));
	ASSERT_EQ(1, event_of(_metadata, self, RECYCLED, handle, 400).refs);
	ASSERT_LE(400, clock_ms() - start_ms);
}

TEST_F(session, beat_after_recycle)
{
	uint64_t handle;

	start(_metadata, self, (struct sockbeat_opts){ .source = SOCKBEAT_SOURCE_BEAT });
	handle = add(_metadata, self, self->v4.server, 0);
	sockbeat_beat(self->sb, handle);
	ASSERT_NE(0, peer_at(self->sb->data, 0)->beat_ms);
	peer_at(self->sb->data, 0)->beat_ms = 0;
	retire(_metadata, self, handle, 60000);
	sockbeat_beat(self->sb, handle);
	ASSERT_EQ(0, peer_at(self->sb->data, 0)->beat_ms);
}

/* A cell's references are its low bits; no more are given than fit there. */
TEST_F(session, references_have_an_end)
{
	_Atomic uint64_t *cell;
	uint64_t handle, full = (1u << 28) - 1;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 1 });
	handle = add(_metadata, self, self->v4.server, 0);
	cell = (_Atomic uint64_t *)self->sb->refs.ref;
	*cell += full - 1;
	ASSERT_EQ(0, sockbeat_conn_get(self->sb, handle));
	ASSERT_EQ(-EAGAIN, sockbeat_conn_get(self->sb, handle));
	ASSERT_EQ(0, stats_of(_metadata, self).stale);
	sockbeat_conn_put(self->sb, handle);
	ASSERT_EQ(0, sockbeat_conn_get(self->sb, handle));
}

/* The peer of another process in a slot that we never used. */
TEST_F(session, unknown_peers_are_tracked)
{
	start(_metadata, self, (struct sockbeat_opts){ .capacity = 1 });
	ASSERT_TRUE(sb_refs_tracked(self->sb, 1ull << 32));
	ASSERT_TRUE(sb_refs_tracked(self->sb, 0xffffffffull << 32));
	ASSERT_FALSE(sb_refs_tracked(self->sb, 1ull << 32 | 1));
}

/* An engine that fails. */

static int fail_recycle(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n,
			const struct sb_retire *how)
{
	return sb_fail(sb, -ENOMEM, "peer-recycle: no memory");
}

static int fail_entry(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n,
		      const struct sb_retire *how)
{
	peers[0].error = -ENOMEM;
	return 0;
}

static int fail_events(struct sockbeat *sb, struct sockbeat_event *events, int max)
{
	return sb_fail(sb, -EBADMSG, "peer-event: malformed");
}

/* Messages that were under way when their peer was retired. */

static struct sockbeat_event late_event;

static int late_events(struct sockbeat *sb, struct sockbeat_event *events, int max)
{
	events[0] = late_event;
	return 1;
}

static int take_late(SELF, uint64_t handle, enum sockbeat_event_kind kind)
{
	struct sb_engine engine = sb_engine_builtin;
	struct sockbeat_event event[2];
	int n;

	late_event = (struct sockbeat_event){ .kind = kind, .handle = handle };
	engine.events = late_events;
	self->sb->engine = &engine;
	n = sockbeat_events(self->sb, event, 2);
	self->sb->engine = &sb_engine_builtin;
	return n;
}

TEST_F(session, late_messages_are_dropped)
{
	uint64_t first, second;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 1 });
	first = add(_metadata, self, self->v4.server, 0);
	ASSERT_EQ(1, take_late(_metadata, self, first, SILENT));
	retire(_metadata, self, first, 100);
	ASSERT_EQ(0, take_late(_metadata, self, first, SILENT));
	ASSERT_EQ(0, take_late(_metadata, self, first, GONE));
	event_of(_metadata, self, RECYCLED, first, 100);
	ASSERT_EQ(0, take_late(_metadata, self, first, RECYCLED));
	second = add(_metadata, self, self->v6.server, 0);
	ASSERT_EQ(0, take_late(_metadata, self, first, RECYCLED));
	ASSERT_EQ(0, take_late(_metadata, self, first, SILENT));
	ASSERT_EQ(SOCKBEAT_STATE_LIVE, info_of(_metadata, self, second).state);
	ASSERT_EQ(1, take_late(_metadata, self, second, SILENT));
	/* A deleted peer is not mentioned either. */
	forget(_metadata, self, second);
	ASSERT_EQ(0, take_late(_metadata, self, second, SILENT));
}

/* Who could not be retired can be referred to as before. */
TEST_F(session, refused_recycle_changes_nothing)
{
	struct sb_engine engine = sb_engine_builtin;
	uint64_t handle;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 1 });
	handle = add(_metadata, self, self->v4.server, 0);
	engine.recycle = fail_recycle;
	self->sb->engine = &engine;
	ASSERT_EQ(-ENOMEM, sockbeat_recycle(self->sb, &handle, 1, 100, 0));
	ASSERT_EQ(0, sockbeat_conn_get(self->sb, handle));
	sockbeat_conn_put(self->sb, handle);
	engine.recycle = fail_entry;
	ASSERT_EQ(0, sockbeat_recycle(self->sb, &handle, 1, 100, 0));
	self->sb->engine = &sb_engine_builtin;
	ASSERT_EQ(0, sockbeat_conn_get(self->sb, handle));
}

/* An error that comes after events is returned after them. */
TEST_F(session, error_after_events)
{
	struct sb_engine engine = sb_engine_builtin;
	struct sockbeat_event event[2];
	uint64_t handle;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 1, .renotify_ms = 60000 });
	handle = add(_metadata, self, self->v4.server, 0);
	ASSERT_EQ(0, sockbeat_conn_get(self->sb, handle));
	retire(_metadata, self, handle, 0);
	ASSERT_EQ(1, event_of(_metadata, self, RECYCLED, handle, 0).refs);
	sockbeat_conn_put(self->sb, handle);
	engine.events = fail_events;
	self->sb->engine = &engine;
	ASSERT_EQ(1, sockbeat_events(self->sb, event, 2));
	ASSERT_EQ(0, event[0].refs);
	self->sb->engine = &sb_engine_builtin;
	ASSERT_EQ(-EBADMSG, sockbeat_events(self->sb, event, 2));
	ASSERT_NE(NULL, strstr(sockbeat_strerror(self->sb), "peer-event"));
	ASSERT_EQ(0, sockbeat_events(self->sb, event, 2));
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
