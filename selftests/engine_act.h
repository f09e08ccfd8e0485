/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Part of engine_tests.h: warnings, what an engine does to silent peers by
 * itself, and timeouts that follow a rhythm.
 */

#define PEER(member, bit, value) \
	(struct sockbeat_peer){ .mask = SOCKBEAT_PEER_##bit, .member = value }

TEST_F(session, suspect)
{
	struct sockbeat_event event;
	uint64_t handle;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 600, .trigger = 1,
						       .suspect_percent = 50 });
	handle = add(_metadata, self, self->v4.server, 7);
	event = event_of(_metadata, self, SOCKBEAT_EVENT_KIND_SUSPECT, handle, 300 + LATE_MS);
	EXPECT_EQ(7, event.user_data);
	EXPECT_LE(300, event.idle_ms);
	EXPECT_GT(600, event.idle_ms);
	EXPECT_TRUE(info_of(_metadata, self, handle).suspect);
	EXPECT_EQ(SOCKBEAT_STATE_LIVE, info_of(_metadata, self, handle).state);
	/* Heard again, which is told; then the same, to the end. */
	send_byte(_metadata, self, self->v4.client);
	event_of(_metadata, self, HEARD, handle, 600);
	EXPECT_FALSE(info_of(_metadata, self, handle).suspect);
	event_of(_metadata, self, SOCKBEAT_EVENT_KIND_SUSPECT, handle, 600);
	event_of(_metadata, self, SILENT, handle, 600);
	EXPECT_EQ(2, stats_of(_metadata, self).suspects);
	EXPECT_EQ(1, stats_of(_metadata, self).silences);
}

/* A member of its own has precedence over the session's default. */
TEST_F(session, policy_of_a_peer)
{
	struct sockbeat_peer peer = {
		.mask = SOCKBEAT_PEER_SUSPECT | SOCKBEAT_PEER_ACTION | SOCKBEAT_PEER_ACT_AFTER |
			SOCKBEAT_PEER_RENOTIFY | SOCKBEAT_PEER_ADAPTIVE,
		.renotify_ms = 12345, .action = SOCKBEAT_ACTION_SHUTDOWN, .act_after_ms = 23456,
		.suspect_percent = 67, .adaptive_beats = 5,
	};
	struct sockbeat_info info;
	uint64_t handle;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 60000, .renotify_ms = 7000,
		.action = SOCKBEAT_ACTION_ABORT, .act_after_ms = 1111, .suspect_percent = 50,
		.adaptive_beats = 3 });
	handle = add(_metadata, self, self->v6.server, 0);
	info = info_of(_metadata, self, handle);
	EXPECT_EQ(7000, info.renotify_ms);
	EXPECT_EQ(SOCKBEAT_ACTION_ABORT, info.action);
	EXPECT_EQ(1111, info.act_after_ms);
	EXPECT_EQ(50, info.suspect_percent);
	EXPECT_EQ(3, info.adaptive_beats);
	EXPECT_EQ(60000, info.limit_ms);
	peer.handle = handle;
	ASSERT_EQ(1, sockbeat_set(self->sb, &peer, 1)) TH_LOG("%s", sockbeat_strerror(self->sb));
	handle = add_as(_metadata, self, self->v4.server, 0, peer);
	for (int i = 0; i < 2; i++, handle = peer.handle) {
		info = info_of(_metadata, self, handle);
		EXPECT_EQ(60000, info.timeout_ms);
		EXPECT_EQ(12345, info.renotify_ms);
		EXPECT_EQ(SOCKBEAT_ACTION_SHUTDOWN, info.action);
		EXPECT_EQ(23456, info.act_after_ms);
		EXPECT_EQ(67, info.suspect_percent);
		EXPECT_EQ(5, info.adaptive_beats);
	}
}

TEST_F(session, wrong_policies)
{
	static const struct {
		struct sockbeat_peer peer;
		const char *what, *range;
	} rows[] = {
		{ PEER(renotify_ms, RENOTIFY, 99), "renotify_ms 99", "100..604800000" },
		{ PEER(action, ACTION, 3), "action 3", "0..2" },
		{ PEER(act_after_ms, ACT_AFTER, 604800001), "act_after_ms 604800001", "0..604800000" },
		{ PEER(suspect_percent, SUSPECT, 100), "suspect_percent 100", "0..99" },
		{ PEER(adaptive_beats, ADAPTIVE, 16), "adaptive_beats 16", "0..15" },
	};
	static const struct {
		struct sockbeat_opts opts;
		const char *what, *range;
	} opts[] = {
		{ { .action = 3 }, "action 3", "0..2" },
		{ { .act_after_ms = 604800001 }, "act_after_ms 604800001", "0..604800000" },
		{ { .suspect_percent = 100 }, "suspect_percent 100", "0..99" },
		{ { .adaptive_beats = 16 }, "adaptive_beats 16", "0..15" },
		{ { .adaptive_min_ms = 99 }, "adaptive_min_ms 99", "100..604800000" },
		{ { .guard_percent = 101 }, "guard_percent 101", "0..100" },
		{ { .guard_window_ms = 99 }, "guard_window_ms 99", "100..604800000" },
	};
	struct sockbeat_peer peer;
	uint64_t handle;
	size_t i;

	for (i = 0; i < sizeof(opts) / sizeof(opts[0]); i++) {
		struct sockbeat_opts o = opts[i].opts;

		o.engine = ENGINE;
		ASSERT_EQ(-EINVAL, sockbeat_open(&self->sb, &o));
		says(_metadata, self, "session-new", opts[i].what, opts[i].range);
		sockbeat_close(self->sb);
	}
	start(_metadata, self, (struct sockbeat_opts){ .capacity = 2 });
	handle = add(_metadata, self, self->v4.server, 0);
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		peer = rows[i].peer;
		peer.handle = handle;
		ASSERT_EQ(0, sockbeat_set(self->sb, &peer, 1));
		ASSERT_EQ(-EINVAL, peer.error);
		says(_metadata, self, "peer-set: entry 0", rows[i].what, rows[i].range);
	}
}

static void expect_end(SELF, enum sockbeat_action action)
{
	struct sockbeat_event event;
	uint64_t handle;
	int end_ms = 300;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 300, .action = action,
						       .trigger = 1, .act_after_ms = 400 });
	handle = add(_metadata, self, self->v4.server, 0);
	event_of(_metadata, self, SILENT, handle, end_ms);
	event = event_of(_metadata, self, GONE, handle, end_ms + 400);
	EXPECT_EQ(action, event.action);
	EXPECT_LE(700, clock_ms() - self->added_ms);
	EXPECT_EQ(action == SOCKBEAT_ACTION_ABORT, stats_of(_metadata, self).aborts);
	EXPECT_EQ(action == SOCKBEAT_ACTION_SHUTDOWN, stats_of(_metadata, self).shutdowns);
}

TEST_F(session, aborts_a_silent_peer)
{
	char byte;

	expect_end(_metadata, self, SOCKBEAT_ACTION_ABORT);
	ASSERT_EQ(-1, recv(self->v4.client, &byte, 1, 0));
	EXPECT_EQ(ECONNRESET, errno);
}

TEST_F(session, shuts_a_silent_peer_down)
{
	char byte;

	expect_end(_metadata, self, SOCKBEAT_ACTION_SHUTDOWN);
	EXPECT_EQ(0, recv(self->v4.client, &byte, 1, 0));
}

/* Who is heard in time, or retired by the caller, is not ended. */
TEST_F(session, spares_who_is_handled)
{
	uint64_t handle[2];
	int err;
	socklen_t len = sizeof(err);

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 300, .renotify_ms = 200,
		.action = SOCKBEAT_ACTION_ABORT, .act_after_ms = 1000 });
	handle[0] = add(_metadata, self, self->v4.server, 0);
	handle[1] = add(_metadata, self, self->v6.server, 0);
	while (stats_of(_metadata, self).silences < 2) {
		struct sockbeat_event event[4];

		events_until(_metadata, self, event, 4, clock_ms() + PATIENCE_MS);
	}
	ASSERT_EQ(1, sockbeat_recycle(self->sb, &handle[0], 1, 60000, SOCKBEAT_END_NONE));
	for (int i = 0; i < 20; i++) {
		struct sockbeat_event event[4];

		send_byte(_metadata, self, self->v6.client);
		events_until(_metadata, self, event, 4, clock_ms() + 100);
	}
	EXPECT_EQ(0, stats_of(_metadata, self).aborts);
	ASSERT_EQ(0, getsockopt(self->v4.server, SOL_SOCKET, SO_ERROR, &err, &len));
	EXPECT_EQ(0, err);
	EXPECT_EQ(SOCKBEAT_STATE_LIVE, info_of(_metadata, self, handle[1]).state);
}

/* Beats of the application are another rhythm than payload. */
TEST_F(session, a_rhythm_is_of_its_source)
{
	struct sockbeat_peer peer = PEER(source, SOURCE, SOCKBEAT_SOURCE_BEAT);

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 60000, .adaptive_beats = 3,
						       .adaptive_min_ms = 600 });
	peer.handle = add(_metadata, self, self->v4.server, 0);
	for (int i = 0; i < 12; i++) {
		send_byte(_metadata, self, self->v4.client);
		quiet(_metadata, self, 300);
	}
	EXPECT_GT(3000, info_of(_metadata, self, peer.handle).limit_ms);
	ASSERT_EQ(1, sockbeat_set(self->sb, &peer, 1)) TH_LOG("%s", sockbeat_strerror(self->sb));
	EXPECT_EQ(60000, info_of(_metadata, self, peer.handle).limit_ms);
}

/* A peer that was heard in a rhythm; returns when it was heard last. */
static uint64_t beat_steadily(SELF, enum sockbeat_trigger trigger, uint64_t *handle)
{
	uint64_t heard_ms = 0;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 60000, .adaptive_beats = 3,
						       .adaptive_min_ms = 600, .trigger = trigger });
	*handle = add(_metadata, self, self->v4.server, 0);
	for (int i = 0; i < 12; i++) {
		send_byte(_metadata, self, self->v4.client);
		heard_ms = clock_ms();
		quiet(_metadata, self, 300);
	}
	return heard_ms;
}

/* Its return is told as soon as its silence was. */
TEST_F(session, follows_a_rhythm_again)
{
	uint64_t handle;

	beat_steadily(_metadata, self, SOCKBEAT_TRIGGER_EDGE, &handle);
	event_of(_metadata, self, SILENT, handle, 3000);
	send_byte(_metadata, self, self->v4.client);
	event_of(_metadata, self, HEARD, handle, 3000);
}

/* A steady peer is missed after some beats, whatever its timeout. */
TEST_F(session, follows_a_rhythm)
{
	struct sockbeat_event event;
	struct sockbeat_info info;
	uint64_t handle, heard_ms;

	heard_ms = beat_steadily(_metadata, self, SOCKBEAT_TRIGGER_LEVEL, &handle);
	info = info_of(_metadata, self, handle);
	EXPECT_EQ(60000, info.timeout_ms);
	EXPECT_GT(3000, info.limit_ms);
	EXPECT_LE(600, info.limit_ms);
	EXPECT_LE(200, info.interval_ms);
	EXPECT_GE(600, info.interval_ms);
	event = event_of(_metadata, self, SILENT, handle, 3000);
	EXPECT_LE(600, event.idle_ms);
	EXPECT_GE(3000 + LATE_MS, clock_ms() - heard_ms);
	/* Back again, with more patience for the time it was away. */
	send_byte(_metadata, self, self->v4.client);
	info = info_of(_metadata, self, handle);
	EXPECT_EQ(SOCKBEAT_STATE_LIVE, info.state);
}

#undef PEER
