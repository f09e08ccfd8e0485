/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Part of engine_tests.h: retirement of peers, and references on them.
 */

#define RECYCLED	SOCKBEAT_EVENT_KIND_RECYCLED
#define IN_QUARANTINE	(1u << SOCKBEAT_STATE_RECYCLING)

static void retire_as(SELF, uint64_t handle, uint32_t delay_ms, enum sockbeat_end end)
{
	ASSERT_EQ(1, sockbeat_recycle(self->sb, &handle, 1, delay_ms, end))
		TH_LOG("%s", sockbeat_strerror(self->sb));
}

static void retire(SELF, uint64_t handle, uint32_t delay_ms)
{
	retire_as(_metadata, self, handle, delay_ms, SOCKBEAT_END_NONE);
}

static void adds_up(SELF)
{
	struct sockbeat_stats s = stats_of(_metadata, self);

	ASSERT_EQ(s.added, s.live + s.silent + s.gone + s.recycling + s.deleted + s.recycled);
}

static int take_info(const struct sockbeat_info *info, void *arg)
{
	*(struct sockbeat_info *)arg = *info;
	return 0;
}

TEST_F(session, recycle)
{
	struct sockbeat_info info = { 0 };
	struct sockbeat_event event;
	uint64_t handle, start_ms;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 1 });
	handle = add(_metadata, self, self->v4.server, 77);
	start_ms = clock_ms();
	retire(_metadata, self, handle, 500);
	ASSERT_EQ(0, sockbeat_list(self->sb, IN_QUARANTINE, take_info, &info));
	ASSERT_EQ(handle, info.handle);
	ASSERT_EQ(SOCKBEAT_STATE_RECYCLING, info.state);
	ASSERT_EQ(77, info.user_data);
	ASSERT_GE(501, info.left_ms);
	ASSERT_LE(500, info.left_ms + (clock_ms() - start_ms));
	ASSERT_EQ(0, info.tcp_state);
	ASSERT_EQ(0, info.idle_ms);
	ASSERT_EQ(0, info.cookie);
	ASSERT_EQ(1, stats_of(_metadata, self).recycling);
	ASSERT_EQ(1, stats_of(_metadata, self).recycles);
	ASSERT_EQ(0, sockbeat_free_slots(self->sb));
	refused(_metadata, self, self->v6.server, ENOSPC,
		"no free slot: 0 live, 0 silent, 0 gone, 1 in quarantine");
	adds_up(_metadata, self);

	event = event_of(_metadata, self, RECYCLED, handle, 500);
	ASSERT_LE(500, clock_ms() - start_ms);
	ASSERT_EQ(77, event.user_data);
	ASSERT_EQ(0, event.refs);
	ASSERT_EQ(1, sockbeat_free_slots(self->sb));
	ASSERT_EQ(-ENOENT, sockbeat_get(self->sb, handle, &info));
	ASSERT_EQ(1, stats_of(_metadata, self).recycled);
	ASSERT_EQ(0, stats_of(_metadata, self).deleted);
	adds_up(_metadata, self);
	ASSERT_EQ(2ull << 32, add(_metadata, self, self->v6.server, 0));
}

TEST_F(session, recycle_without_delay)
{
	uint64_t handle;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 1,
						       .recycle_delay_ms = SOCKBEAT_NO_DELAY });
	handle = add(_metadata, self, self->v4.server, 0);
	retire(_metadata, self, handle, SOCKBEAT_DEFAULT_DELAY);
	ASSERT_EQ(1, stats_of(_metadata, self).recycled);
	adds_up(_metadata, self);
	ASSERT_EQ(2ull << 32, add(_metadata, self, self->v6.server, 0));
	quiet(_metadata, self, 2 * TICK_MS);
}

TEST_F(session, recycle_default_delay)
{
	uint64_t handle;

	start(_metadata, self, (struct sockbeat_opts){ 0 });
	handle = add(_metadata, self, self->v4.server, 0);
	retire(_metadata, self, handle, SOCKBEAT_DEFAULT_DELAY);
	ASSERT_LE(50000, info_of(_metadata, self, handle).left_ms);
	ASSERT_GE(60001, info_of(_metadata, self, handle).left_ms);
	sockbeat_close(self->sb);
	start(_metadata, self, (struct sockbeat_opts){ .recycle_delay_ms = 200 });
	handle = add(_metadata, self, self->v6.server, 0);
	retire(_metadata, self, handle, SOCKBEAT_DEFAULT_DELAY);
	event_of(_metadata, self, RECYCLED, handle, 200);
}

TEST_F(session, recycle_refusals)
{
	struct sockbeat_opts opts = { .engine = ENGINE, .recycle_delay_ms = 604800001 };
	struct sockbeat_peer peer = { 0 };
	uint64_t handle, stale = 5ull << 32;

	ASSERT_EQ(-EINVAL, sockbeat_open(&self->sb, &opts));
	says(_metadata, self, "recycle_delay_ms", "604800001", "0..604800000");
	sockbeat_close(self->sb);

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 4 });
	peer.handle = handle = add(_metadata, self, self->v4.server, 0);
	ASSERT_EQ(-EINVAL, sockbeat_recycle(self->sb, &handle, 1, 604800001, 0));
	says(_metadata, self, "peer-recycle: delay_ms", "604800001", "0..604800000");
	ASSERT_EQ(-EINVAL, sockbeat_recycle(self->sb, &handle, 1, 0, 3));
	says(_metadata, self, "peer-recycle: end", " 3 ", "0..2");
	ASSERT_EQ(0, sockbeat_extend(self->sb, &handle, 1, 1000));
	says(_metadata, self, "recycle-extend", "peer is not in quarantine", "");
	ASSERT_EQ(0, sockbeat_recycle(self->sb, &stale, 1, 1000, 0));
	says(_metadata, self, "peer-recycle", "no peer has this handle", "0x500000000");
	ASSERT_EQ(SOCKBEAT_STATE_LIVE, info_of(_metadata, self, handle).state);
	ASSERT_EQ(0, sockbeat_conn_get(self->sb, handle));
	sockbeat_conn_put(self->sb, handle);

	retire(_metadata, self, handle, 60000);
	ASSERT_EQ(0, sockbeat_recycle(self->sb, &handle, 1, 1000, 0));
	says(_metadata, self, "peer-recycle", "peer is in quarantine", "");
	ASSERT_EQ(0, sockbeat_set(self->sb, &peer, 1));
	ASSERT_EQ(-EALREADY, peer.error);
	says(_metadata, self, "peer-set", "peer is in quarantine", "");
	/* To delete it frees it from there too. */
	forget(_metadata, self, handle);
	ASSERT_EQ(1, stats_of(_metadata, self).deleted);
	adds_up(_metadata, self);
}

static int count_infos(const struct sockbeat_info *info, void *arg)
{
	++*(int *)arg;
	return 0;
}

/* An entry that is refused leaves the others alone and is named by its number,
 * however many there are.
 */
TEST_F(session, recycle_batch)
{
	enum { N = 80, BAD = 70 };
	struct pair pairs[N / 2];
	uint64_t handles[N];
	int i, resting = 0;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = N });
	ASSERT_EQ(0, tcp_pairs(AF_INET, pairs, N / 2));
	for (i = 0; i < N; i++)
		handles[i] = add(_metadata, self,
				 i % 2 ? pairs[i / 2].server : pairs[i / 2].client, i);
	handles[BAD] += 1ull << 32;
	ASSERT_EQ(N - 1, sockbeat_recycle(self->sb, handles, N, 60000, 0));
	says(_metadata, self, "peer-recycle: entry 70:", "0x200000046", "no peer has this handle");
	ASSERT_EQ(0, sockbeat_list(self->sb, IN_QUARANTINE, count_infos, &resting));
	ASSERT_EQ(N - 1, resting);
	ASSERT_EQ(N - 1, sockbeat_extend(self->sb, handles, N, 60000));
	says(_metadata, self, "recycle-extend: entry 70:", "no peer has this handle", "");
	ASSERT_EQ(N - 1, sockbeat_del(self->sb, handles, N));
	says(_metadata, self, "peer-del: entry 70:", "no peer has this handle", "");
	ASSERT_EQ(1, stats_of(_metadata, self).live);
	adds_up(_metadata, self);
	for (i = 0; i < N / 2; i++)
		tcp_pair_close(&pairs[i]);
}

/* Silent and gone peers are retired as live ones are, and not mentioned again. */
TEST_F(session, recycle_silent_and_gone)
{
	uint64_t silent, gone;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 200, .renotify_ms = 300 });
	silent = add(_metadata, self, self->v4.server, 0);
	event_of(_metadata, self, SILENT, silent, 200 + LATE_MS);
	gone = add(_metadata, self, self->v6.server, 0);
	tcp_abort(self->v6.client);
	self->v6.client = -1;
	retire(_metadata, self, silent, 1000);
	event_of(_metadata, self, GONE, gone, 200 + LATE_MS);
	retire(_metadata, self, gone, 1000);
	event_of(_metadata, self, RECYCLED, silent, 1000);
	event_of(_metadata, self, RECYCLED, gone, 1000);
	adds_up(_metadata, self);
}

TEST_F(session, recycle_extended)
{
	uint64_t handle, start_ms;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 4 });
	handle = add(_metadata, self, self->v4.server, 0);
	start_ms = clock_ms();
	ASSERT_EQ(3, sockbeat_free_slots(self->sb));
	retire(_metadata, self, handle, 300);
	ASSERT_EQ(3, sockbeat_free_slots(self->sb));
	ASSERT_EQ(1, sockbeat_extend(self->sb, &handle, 1, 1000));
	ASSERT_EQ(1, sockbeat_extend(self->sb, &handle, 1, 100));
	ASSERT_LE(1000, info_of(_metadata, self, handle).left_ms + (clock_ms() - start_ms));
	ASSERT_GE(1001 + (clock_ms() - start_ms), info_of(_metadata, self, handle).left_ms);
	event_of(_metadata, self, RECYCLED, handle, 1000);
	ASSERT_LE(1000, clock_ms() - start_ms);
}

TEST_F(session, recycle_ends_socket)
{
	uint64_t handle;
	char byte;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 4 });
	handle = add(_metadata, self, self->v4.server, 0);
	ASSERT_EQ(1, send(self->v4.server, "x", 1, MSG_NOSIGNAL));
	retire_as(_metadata, self, handle, 60000, SOCKBEAT_END_SHUTDOWN);
	ASSERT_EQ(-1, send(self->v4.server, "x", 1, MSG_NOSIGNAL));
	ASSERT_EQ(1, recv(self->v4.client, &byte, 1, 0));
	ASSERT_EQ(0, recv(self->v4.client, &byte, 1, 0));

	handle = add(_metadata, self, self->v6.server, 0);
	retire_as(_metadata, self, handle, 60000, SOCKBEAT_END_ABORT);
	ASSERT_EQ(-1, recv(self->v6.client, &byte, 1, 0));
	ASSERT_EQ(ECONNRESET, errno);
	quiet(_metadata, self, 2 * TICK_MS);
}

/* A descriptor that was closed and given to another socket is that one's. */
TEST_F(session, recycle_spares_other_sockets)
{
	uint64_t handle;
	char byte;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 4 });
	handle = add(_metadata, self, self->v4.server, 0);
	ASSERT_EQ(self->v4.server, dup2(self->v6.server, self->v4.server));
	retire_as(_metadata, self, handle, 60000, SOCKBEAT_END_ABORT);
	ASSERT_EQ(1, send(self->v6.server, "x", 1, MSG_NOSIGNAL));
	ASSERT_EQ(1, recv(self->v6.client, &byte, 1, 0));
}

/* Slots are reused in the order in which their quarantine ended. */
TEST_F(session, recycle_order)
{
	uint64_t a, b;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 2 });
	a = add(_metadata, self, self->v4.server, 0);
	b = add(_metadata, self, self->v6.server, 0);
	retire(_metadata, self, a, 600);
	retire(_metadata, self, b, 100);
	event_of(_metadata, self, RECYCLED, b, 100);
	event_of(_metadata, self, RECYCLED, a, 600);
	ASSERT_EQ(2ull << 32 | 1, add(_metadata, self, self->v4.server, 0));
	ASSERT_EQ(2ull << 32 | 0, add(_metadata, self, self->v6.server, 0));
}

/* What came before the retirement is not told after it. */
TEST_F(session, recycle_silences_events)
{
	uint64_t a, b;
	struct sockbeat_event event;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 200, .renotify_ms = 60000 });
	a = add(_metadata, self, self->v4.server, 0);
	b = add(_metadata, self, self->v6.server, 0);
	/* Both are in one message, or one turn. */
	ASSERT_EQ(1, events_until(_metadata, self, &event, 1, clock_ms() + PATIENCE_MS));
	ASSERT_EQ(a, event.handle);
	retire(_metadata, self, b, 60000);
	quiet(_metadata, self, 3 * TICK_MS);
	/* Nor does it pass for the news of the quarantine's end. */
	ASSERT_EQ(1, sockbeat_extend(self->sb, &b, 1, 60000));
}

TEST_F(session, references)
{
	uint64_t handle, next;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 1 });
	handle = add(_metadata, self, self->v4.server, 0);
	ASSERT_EQ(0, sockbeat_conn_get(self->sb, handle));
	ASSERT_EQ(0, sockbeat_conn_get(self->sb, handle));
	sockbeat_conn_put(self->sb, handle);
	sockbeat_conn_put(self->sb, handle);
	/* One put too many is no harm. */
	sockbeat_conn_put(self->sb, handle);
	ASSERT_EQ(-ESTALE, sockbeat_conn_get(self->sb, 2ull << 32));
	ASSERT_EQ(-ESTALE, sockbeat_conn_get(self->sb, 1ull << 32 | 1));
	ASSERT_EQ(-ESTALE, sockbeat_conn_get(self->sb, 0));
	ASSERT_EQ(3, stats_of(_metadata, self).stale);

	retire(_metadata, self, handle, 100);
	ASSERT_EQ(-ESTALE, sockbeat_conn_get(self->sb, handle));
	event_of(_metadata, self, RECYCLED, handle, 100);
	next = add(_metadata, self, self->v6.server, 0);
	ASSERT_EQ(-ESTALE, sockbeat_conn_get(self->sb, handle));
	sockbeat_conn_put(self->sb, handle);
	ASSERT_EQ(0, sockbeat_conn_get(self->sb, next));
	/* To delete a peer forgets them. */
	forget(_metadata, self, next);
	sockbeat_conn_put(self->sb, next);
	next = add(_metadata, self, self->v6.server, 0);
	retire(_metadata, self, next, 0);
	adds_up(_metadata, self);
}

/* A reference keeps the slot past its delay; that is told, again and again,
 * and the slot is free when it goes.
 */
TEST_F(session, held)
{
	struct sockbeat_event event;
	uint64_t handle, start_ms, retired_ms;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 1, .renotify_ms = 300 });
	handle = add(_metadata, self, self->v4.server, 9);
	ASSERT_EQ(0, sockbeat_conn_get(self->sb, handle));
	ASSERT_EQ(0, sockbeat_conn_get(self->sb, handle));
	retired_ms = clock_ms();
	retire(_metadata, self, handle, 100);
	event = event_of(_metadata, self, RECYCLED, handle, 100);
	ASSERT_EQ(2, event.refs);
	ASSERT_EQ(9, event.user_data);
	ASSERT_EQ(1, stats_of(_metadata, self).held);
	refused(_metadata, self, self->v6.server, ENOSPC, "1 in quarantine");
	ASSERT_EQ(0, sockbeat_free_slots(self->sb));
	/* It was told that the time is over: it cannot be made longer now. */
	ASSERT_EQ(0, sockbeat_extend(self->sb, &handle, 1, 60000));
	says(_metadata, self, "recycle-extend", "the end of the quarantine was reported", "");
	sockbeat_conn_put(self->sb, handle);
	event = event_of(_metadata, self, RECYCLED, handle, 300);
	ASSERT_EQ(1, event.refs);
	ASSERT_LE(300, event.late_ms);
	ASSERT_EQ(1, stats_of(_metadata, self).held_total);
	adds_up(_metadata, self);

	start_ms = clock_ms();
	sockbeat_conn_put(self->sb, handle);
	do {
		event = event_of(_metadata, self, RECYCLED, handle, 0);
	} while (event.refs);
	ASSERT_EQ(9, event.user_data);
	ASSERT_LE(300, event.late_ms);
	ASSERT_GE(clock_ms() - retired_ms, event.late_ms + 100);
	ASSERT_GE(LATE_MS, clock_ms() - start_ms);
	ASSERT_EQ(0, stats_of(_metadata, self).held);
	ASSERT_EQ(1, stats_of(_metadata, self).recycled);
	ASSERT_EQ(0, stats_of(_metadata, self).deleted);
	adds_up(_metadata, self);
	ASSERT_EQ(2ull << 32, add(_metadata, self, self->v6.server, 0));
	quiet(_metadata, self, 500);
}

/* References count where there is no delay, too. */
TEST_F(session, held_without_delay)
{
	struct sockbeat_event event;
	uint64_t handle;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 1, .renotify_ms = 60000 });
	handle = add(_metadata, self, self->v4.server, 0);
	ASSERT_EQ(0, sockbeat_conn_get(self->sb, handle));
	retire(_metadata, self, handle, 0);
	event = event_of(_metadata, self, RECYCLED, handle, 0);
	ASSERT_EQ(1, event.refs);
	sockbeat_conn_put(self->sb, handle);
	ASSERT_EQ(0, event_of(_metadata, self, RECYCLED, handle, 0).refs);
	add(_metadata, self, self->v6.server, 0);
}

/* To delete a held slot frees it at once; who refers to it does no harm. */
TEST_F(session, held_and_deleted)
{
	uint64_t handle, next;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 1, .renotify_ms = 300 });
	handle = add(_metadata, self, self->v4.server, 0);
	ASSERT_EQ(0, sockbeat_conn_get(self->sb, handle));
	retire(_metadata, self, handle, 0);
	ASSERT_EQ(1, event_of(_metadata, self, RECYCLED, handle, 0).refs);
	forget(_metadata, self, handle);
	ASSERT_EQ(0, stats_of(_metadata, self).held);
	/* The end of its quarantine was told. */
	ASSERT_EQ(1, stats_of(_metadata, self).recycled);
	ASSERT_EQ(0, stats_of(_metadata, self).deleted);
	next = add(_metadata, self, self->v6.server, 0);
	ASSERT_EQ(0, sockbeat_conn_get(self->sb, next));
	/* Must not drop the reference of the next one. */
	sockbeat_conn_put(self->sb, handle);
	quiet(_metadata, self, 500);
	retire(_metadata, self, next, 0);
	ASSERT_EQ(1, event_of(_metadata, self, RECYCLED, next, 0).refs);
	adds_up(_metadata, self);
}

/* Many at once, taken one at a time: none is forgotten, none told twice. */
TEST_F(session, many_released)
{
	enum { N = 150 };
	static struct pair pairs[N];
	static uint64_t handles[N];
	unsigned char told[N] = { 0 };
	struct sockbeat_event event[7];
	struct pollfd pfd = { .events = POLLIN };
	int i, n, held = 0, freed = 0;

	ASSERT_EQ(0, want_fds(2 * N));
	start(_metadata, self, (struct sockbeat_opts){ .capacity = N, .renotify_ms = 60000 });
	ASSERT_EQ(0, tcp_pairs(AF_INET, pairs, N));
	for (i = 0; i < N; i++) {
		handles[i] = add(_metadata, self, pairs[i].server, i);
		ASSERT_EQ(0, sockbeat_conn_get(self->sb, handles[i]));
	}
	ASSERT_EQ(N, sockbeat_recycle(self->sb, handles, N, 100, 0));
	while (held < N) {
		n = events_until(_metadata, self, event, 7, clock_ms() + PATIENCE_MS);
		ASSERT_LT(0, n);
		for (i = 0; i < n; i++)
			ASSERT_EQ(1, event[i].refs);
		held += n;
	}
	for (i = 0; i < N; i++)
		sockbeat_conn_put(self->sb, handles[i]);
	pfd.fd = sockbeat_fd(self->sb);
	while (freed < N) {
		/* Readable as long as there are more. */
		ASSERT_EQ(1, poll(&pfd, 1, 0));
		n = events_until(_metadata, self, event, 7, clock_ms() + PATIENCE_MS);
		ASSERT_LT(0, n);
		for (i = 0; i < n; i++) {
			ASSERT_EQ(0, event[i].refs);
			ASSERT_EQ(0, told[event[i].user_data]++);
		}
		freed += n;
	}
	quiet(_metadata, self, 2 * TICK_MS);
	ASSERT_EQ(N, stats_of(_metadata, self).recycled);
	ASSERT_EQ(0, stats_of(_metadata, self).held);
	adds_up(_metadata, self);
	for (i = 0; i < N; i++)
		tcp_pair_close(&pairs[i]);
}
