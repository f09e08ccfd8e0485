/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Part of engine_tests.h: batches, handles, refusals, lists.
 */

TEST_F(session, bad_options)
{
	static const struct {
		struct sockbeat_opts opts;
		const char *name, *value, *range;
	} bad[] = {
		{ { .capacity = 16777217 }, "capacity", "16777217", "1..16777216" },
		{ { .timeout_ms = 99 }, "timeout_ms", " 99 ", "100..604800000" },
		{ { .timeout_ms = 604800001 }, "timeout_ms", "604800001", "100..604800000" },
		{ { .renotify_ms = 1 }, "renotify_ms", " 1 ", "100..604800000" },
		{ { .source = 3 }, "source", " 3 ", "0..2" },
		{ { .trigger = 2 }, "trigger", " 2 ", "0..1" },
	};
	struct sockbeat_opts opts;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		opts = bad[i].opts;
		opts.engine = ENGINE;
		ASSERT_EQ(-EINVAL, sockbeat_open(&self->sb, &opts));
		says(_metadata, self, bad[i].name, bad[i].value, bad[i].range);
		sockbeat_close(self->sb);
		self->sb = NULL;
	}
}

/* One entry that must be refused. */
static void refused(SELF, int fd, int err, const char *why)
{
	struct sockbeat_peer peer = { .fd = fd };
	char name[32];

	ASSERT_EQ(0, sockbeat_add(self->sb, &peer, 1)) TH_LOG("%s", why);
	ASSERT_EQ(-err, peer.error) TH_LOG("%s", sockbeat_strerror(self->sb));
	snprintf(name, sizeof(name), "fd %d", fd);
	says(_metadata, self, "peer-add: entry 0", name, why);
}

TEST_F(session, refusals)
{
	int pipes[2], fd, one = 1;
	uint16_t port;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 16 });
	refused(_metadata, self, -1, EBADF, "fd is not open");
	refused(_metadata, self, 1000000, EBADF, "fd is not open");
	ASSERT_EQ(0, pipe(pipes));
	refused(_metadata, self, pipes[0], ENOTSOCK, "fd is not a socket");
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	refused(_metadata, self, fd, EPROTONOSUPPORT, "socket is not a TCP socket");
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	refused(_metadata, self, fd, EPROTONOSUPPORT, "socket is not a TCP socket");
	fd = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
	if (fd >= 0)
		refused(_metadata, self, fd, EPROTONOSUPPORT, "socket is not a TCP socket");
	fd = tcp_listen(AF_INET6, "::1", &port);
	refused(_metadata, self, fd, EINVAL, "socket is listening");
	fd = socket(AF_INET, SOCK_STREAM, 0);
	refused(_metadata, self, fd, ENOTCONN, "socket is not connected");

	add(_metadata, self, self->v4.server, 0);
	refused(_metadata, self, self->v4.server, EEXIST, "socket is tracked already");
	/* Another number of the same socket. */
	refused(_metadata, self, dup(self->v4.server), EEXIST, "socket is tracked already");
	tcp_abort(self->v6.client);
	setsockopt(self->v6.server, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	refused(_metadata, self, self->v6.server, ENOTCONN, "socket is not connected");
	ASSERT_EQ(1, stats_of(_metadata, self).added - stats_of(_metadata, self).deleted);
}

TEST_F(session, bad_entries)
{
	struct sockbeat_peer peer = { .fd = self->v4.server };

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 16 });
	peer.mask = SOCKBEAT_PEER_TIMEOUT;
	peer.timeout_ms = 99;
	ASSERT_EQ(0, sockbeat_add(self->sb, &peer, 1));
	ASSERT_EQ(-EINVAL, peer.error);
	says(_metadata, self, "peer-add: entry 0", "timeout_ms 99", "100..604800000");
	peer.mask = SOCKBEAT_PEER_SOURCE;
	peer.source = 3;
	ASSERT_EQ(0, sockbeat_add(self->sb, &peer, 1));
	says(_metadata, self, "peer-add: entry 0", "source 3", "0..2");
	peer.mask = SOCKBEAT_PEER_TRIGGER;
	peer.trigger = 2;
	ASSERT_EQ(0, sockbeat_add(self->sb, &peer, 1));
	says(_metadata, self, "peer-add: entry 0", "trigger 2", "0..1");
	peer.mask = 2048;
	ASSERT_EQ(0, sockbeat_add(self->sb, &peer, 1));
	says(_metadata, self, "peer-add: entry 0", "mask 2048", "0..2047");
	/* What is not meant is not looked at. */
	peer.mask = 0;
	ASSERT_EQ(1, sockbeat_add(self->sb, &peer, 1));
	ASSERT_STREQ("no error", sockbeat_strerror(self->sb));
}

/* Every third of 300 entries is bad: the others are tracked, each handle and
 * each error is at its own entry.
 */
TEST_F(session, batch)
{
	struct sockbeat_peer peer[300];
	struct pair pairs[100];
	uint64_t handle[300];
	int i;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 200 });
	ASSERT_EQ(0, tcp_pairs(AF_INET, pairs, 100));
	memset(peer, 0, sizeof(peer));
	for (i = 0; i < 300; i++) {
		peer[i].fd = i % 3 == 0 ? pairs[i / 3].server :
			     i % 3 == 1 ? STDIN_FILENO : pairs[i / 3].client;
		peer[i].user_data = i;
	}
	peer[4].mask = SOCKBEAT_PEER_TIMEOUT;
	peer[4].timeout_ms = 1;
	ASSERT_EQ(200, sockbeat_add(self->sb, peer, 300));
	says(_metadata, self, "peer-add: entry ", "", "");
	for (i = 0; i < 300; i++) {
		if (i % 3 != 1) {
			ASSERT_EQ(0, peer[i].error);
			ASSERT_EQ(i, info_of(_metadata, self, peer[i].handle).user_data);
		} else {
			ASSERT_EQ(i == 4 ? -EINVAL : -ENOTSOCK, peer[i].error);
		}
		handle[i] = i % 3 == 1 ? 0x7700000000 + i : peer[i].handle;
		peer[i].handle = handle[i];
		peer[i].user_data = 1000 + i;
		peer[i].mask = i % 2 ? SOCKBEAT_PEER_USER_DATA : 0;
	}
	ASSERT_EQ(200, sockbeat_set(self->sb, peer, 300));
	says(_metadata, self, "peer-set: entry ", "handle 0x77", "no peer has this handle");
	for (i = 0; i < 300; i++) {
		ASSERT_EQ(i % 3 == 1 ? -ENOENT : 0, peer[i].error);
		if (i % 3 != 1)
			ASSERT_EQ(i % 2 ? 1000 + i : i, info_of(_metadata, self, handle[i]).user_data);
	}
	ASSERT_EQ(200, sockbeat_del(self->sb, handle, 300));
	says(_metadata, self, "peer-del: entry ", "handle 0x77", "no peer has this handle");
	ASSERT_EQ(0, stats_of(_metadata, self).live);
}

TEST_F(session, handles)
{
	uint64_t a, b, c, d;
	struct sockbeat_info info;
	struct sockbeat_peer peer = { 0 };

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 3 });
	ASSERT_EQ(3, sockbeat_capacity(self->sb));
	a = add(_metadata, self, self->v4.server, 0);
	b = add(_metadata, self, self->v4.client, 0);
	ASSERT_EQ((uint64_t)1 << 32 | 0, a);
	ASSERT_EQ((uint64_t)1 << 32 | 1, b);
	forget(_metadata, self, b);
	forget(_metadata, self, a);
	/* A slot that was never used, then the one that was freed first. */
	c = add(_metadata, self, self->v4.server, 0);
	ASSERT_EQ((uint64_t)1 << 32 | 2, c);
	d = add(_metadata, self, self->v4.client, 0);
	ASSERT_EQ((uint64_t)2 << 32 | 1, d);
	a = add(_metadata, self, self->v6.client, 0);
	ASSERT_EQ((uint64_t)2 << 32 | 0, a);

	/* b named d's slot before: it is nobody's name now. */
	ASSERT_EQ(-ENOENT, sockbeat_get(self->sb, b, &info));
	says(_metadata, self, "peer-get", "0x100000001", "no peer has this handle");
	ASSERT_EQ(0, sockbeat_del(self->sb, &b, 1));
	peer.handle = b;
	ASSERT_EQ(0, sockbeat_set(self->sb, &peer, 1));
	ASSERT_EQ(-ENOENT, peer.error);
	peer.handle = 0;
	ASSERT_EQ(0, sockbeat_set(self->sb, &peer, 1));
	peer.handle = (uint64_t)1 << 32 | 3;
	ASSERT_EQ(0, sockbeat_set(self->sb, &peer, 1));
	ASSERT_EQ(d, info_of(_metadata, self, d).handle);
}

/* A beat for the slot's last owner does nothing for its next. */
TEST_F(session, stale_beat)
{
	uint64_t old, new;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 1, .timeout_ms = 300,
						       .source = SOCKBEAT_SOURCE_BEAT });
	old = add(_metadata, self, self->v4.server, 0);
	forget(_metadata, self, old);
	new = add(_metadata, self, self->v6.server, 0);
	quiet(_metadata, self, 200);
	sockbeat_beat(self->sb, old);
	sockbeat_beat(self->sb, (uint64_t)1 << 32 | 1000000);
	event_of(_metadata, self, SILENT, new, 100 + LATE_MS);
}

TEST_F(session, full)
{
	uint64_t handle;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 2 });
	handle = add(_metadata, self, self->v4.server, 0);
	add(_metadata, self, self->v4.client, 0);
	refused(_metadata, self, self->v6.server, ENOSPC, "no free slot");
	says(_metadata, self, "peer-add", "no free slot", "2");
	forget(_metadata, self, handle);
	add(_metadata, self, self->v6.server, 0);
}

TEST_F(session, set)
{
	struct sockbeat_peer peer = {
		.mask = SOCKBEAT_PEER_TIMEOUT | SOCKBEAT_PEER_USER_DATA,
		.user_data = 5,
	};
	struct sockbeat_info info;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 60000, .renotify_ms = 60000 });
	peer.handle = add(_metadata, self, self->v4.server, 0);
	quiet(_metadata, self, 300);
	/* What has passed already counts. */
	peer.timeout_ms = 200;
	ASSERT_EQ(1, sockbeat_set(self->sb, &peer, 1));
	ASSERT_EQ(5, event_of(_metadata, self, SILENT, peer.handle, LATE_MS).user_data);
	/* A longer patience makes it live again. */
	peer.timeout_ms = 60000;
	ASSERT_EQ(1, sockbeat_set(self->sb, &peer, 1));
	event_of(_metadata, self, HEARD, peer.handle, LATE_MS);
	peer.mask = SOCKBEAT_PEER_SOURCE | SOCKBEAT_PEER_TRIGGER;
	peer.source = SOCKBEAT_SOURCE_EITHER;
	peer.trigger = SOCKBEAT_TRIGGER_EDGE;
	ASSERT_EQ(1, sockbeat_set(self->sb, &peer, 1));
	info = info_of(_metadata, self, peer.handle);
	ASSERT_EQ(60000, info.timeout_ms);
	ASSERT_EQ(SOCKBEAT_SOURCE_EITHER, info.source);
	ASSERT_EQ(SOCKBEAT_TRIGGER_EDGE, info.trigger);
	ASSERT_EQ(TCP_ESTABLISHED, info.tcp_state);
	ASSERT_LE(300, info.idle_ms);
	peer.timeout_ms = 1;
	peer.mask = SOCKBEAT_PEER_TIMEOUT;
	ASSERT_EQ(0, sockbeat_set(self->sb, &peer, 1));
	says(_metadata, self, "peer-set: entry 0", "timeout_ms 1 ", "100..604800000");
}

struct seen {
	struct sockbeat *sb;
	int n;
	int stop_at;
	bool del;
	uint64_t cookie[400];
};

static int see(const struct sockbeat_info *info, void *arg)
{
	struct seen *seen = arg;

	seen->cookie[info->user_data] = info->cookie;
	if (seen->del && sockbeat_del(seen->sb, &info->handle, 1) != 1)
		return -1;
	return ++seen->n == seen->stop_at ? 77 : 0;
}

TEST_F(session, list)
{
	struct sockbeat_peer peer[400];
	struct pair pairs[200];
	struct seen seen = { 0 };
	uint64_t cookie;
	socklen_t len = sizeof(cookie);
	int i;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 400, .timeout_ms = 60000 });
	seen.sb = self->sb;
	ASSERT_EQ(0, sockbeat_list(self->sb, 0, see, &seen));
	ASSERT_EQ(0, seen.n);
	ASSERT_EQ(0, tcp_pairs(AF_INET6, pairs, 200));
	memset(peer, 0, sizeof(peer));
	for (i = 0; i < 400; i++) {
		peer[i].fd = i % 2 ? pairs[i / 2].server : pairs[i / 2].client;
		peer[i].user_data = i;
		peer[i].mask = SOCKBEAT_PEER_TIMEOUT;
		peer[i].timeout_ms = i == 99 ? 200 : 60000;
	}
	ASSERT_EQ(400, sockbeat_add(self->sb, peer, 400));
	event_of(_metadata, self, SILENT, peer[99].handle, 200 + LATE_MS);

	ASSERT_EQ(0, sockbeat_list(self->sb, 0, see, &seen));
	ASSERT_EQ(400, seen.n);
	for (i = 0; i < 400; i++) {
		ASSERT_EQ(0, getsockopt(peer[i].fd, SOL_SOCKET, SO_COOKIE, &cookie, &len));
		ASSERT_EQ(cookie, seen.cookie[i]);
	}
	seen.n = 0;
	ASSERT_EQ(0, sockbeat_list(self->sb, 1 << SOCKBEAT_STATE_LIVE, see, &seen));
	ASSERT_EQ(399, seen.n);
	seen.n = 0;
	ASSERT_EQ(0, sockbeat_list(self->sb, 1 << SOCKBEAT_STATE_GONE, see, &seen));
	ASSERT_EQ(0, seen.n);
	/* The callback's word ends it, and the session can be used at once. */
	seen.stop_at = 3;
	ASSERT_EQ(77, sockbeat_list(self->sb, 0, see, &seen));
	ASSERT_EQ(3, seen.n);
	ASSERT_EQ(399, stats_of(_metadata, self).live);
	/* The callback may use it too. */
	seen.stop_at = 0;
	seen.del = true;
	seen.n = 0;
	ASSERT_EQ(0, sockbeat_list(self->sb, 1 << SOCKBEAT_STATE_SILENT | 1 << SOCKBEAT_STATE_LIVE,
				   see, &seen));
	ASSERT_EQ(400, seen.n);
	ASSERT_EQ(0, stats_of(_metadata, self).live + stats_of(_metadata, self).silent);
}

/* Events that wait for their reader: none is returned for who was deleted in
 * the meantime, and a small array takes them one by one.
 */
TEST_F(session, waiting_events)
{
	struct pollfd pfd;
	struct sockbeat_event event[4];
	uint64_t handle[4];
	int i;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 200, .renotify_ms = 60000 });
	handle[0] = add(_metadata, self, self->v4.server, 0);
	handle[1] = add(_metadata, self, self->v4.client, 0);
	handle[2] = add(_metadata, self, self->v6.server, 0);
	handle[3] = add(_metadata, self, self->v6.client, 0);
	pfd = (struct pollfd){ .fd = sockbeat_fd(self->sb), .events = POLLIN };
	ASSERT_EQ(0, poll(&pfd, 1, 100));
	ASSERT_EQ(1, poll(&pfd, 1, 1000));
	/* By now all have run out, whichever came first. */
	ASSERT_EQ(1, events_until(_metadata, self, event, 1, clock_ms() + PATIENCE_MS));
	ASSERT_EQ(handle[0], event[0].handle);
	forget(_metadata, self, handle[1]);
	for (i = 2; i < 4; i++) {
		ASSERT_EQ(1, events_until(_metadata, self, event, 1, clock_ms() + PATIENCE_MS));
		ASSERT_EQ(handle[i], event[0].handle);
	}
	quiet(_metadata, self, 300);
	ASSERT_EQ(-EINVAL, sockbeat_events(self->sb, event, 0));
	says(_metadata, self, "max", "0", "below 1");
}

/* A session in which nothing is due costs nothing. */
TEST_F(session, sleeps)
{
	struct pollfd pfd;
	uint64_t handle, ticks;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 60000 });
	handle = add(_metadata, self, self->v4.server, 0);
	pfd = (struct pollfd){ .fd = sockbeat_fd(self->sb), .events = POLLIN };
	quiet(_metadata, self, 150);
	ticks = stats_of(_metadata, self).ticks;
	ASSERT_EQ(0, poll(&pfd, 1, 700));
	forget(_metadata, self, handle);
	ASSERT_EQ(0, poll(&pfd, 1, 150));
	/* A request may start one. */
	ASSERT_GE(ticks + 2, stats_of(_metadata, self).ticks);
}

/* Ten thousand at once: each reported once, none early, none much late. */
TEST_F_TIMEOUT(session, many, 240)
{
	enum { MAX = 10000 };
	static struct sockbeat_peer peer[MAX];
	static struct sockbeat_event event[MAX];
	static struct pair pairs[MAX / 2];
	const int N = test_peers(MAX);
	/* All of them have to be heard before the first falls silent. */
	const uint32_t timeout_ms = is_slow() ? 60000 : 3000;
	uint64_t end, worst = 0;
	int i, n, total = 0;

	if (want_fds(N))
		SKIP(return, "RLIMIT_NOFILE cannot be raised for %d sockets", N);
	start(_metadata, self, (struct sockbeat_opts){ .capacity = N, .timeout_ms = timeout_ms,
						       .trigger = SOCKBEAT_TRIGGER_EDGE });
	ASSERT_EQ(0, tcp_pairs(AF_INET, pairs, N / 2));
	for (i = 0; i < N; i++) {
		peer[i].fd = i % 2 ? pairs[i / 2].server : pairs[i / 2].client;
		peer[i].user_data = i;
	}
	ASSERT_EQ(N, sockbeat_add(self->sb, peer, N)) TH_LOG("%s", sockbeat_strerror(self->sb));
	/* Hear all of them once, so that they fall silent together. */
	for (i = 0; i < N / 2; i++) {
		send_byte(_metadata, self, pairs[i].server);
		send_byte(_metadata, self, pairs[i].client);
	}
	end = clock_ms() + timeout_ms + 10000;
	while (total < N) {
		n = events_until(_metadata, self, event, N, end);
		ASSERT_LT(0, n) TH_LOG("%d of %d reported", total, N);
		for (i = 0; i < n; i++) {
			ASSERT_EQ(SILENT, event[i].kind);
			ASSERT_EQ(peer[event[i].user_data].handle, event[i].handle);
			ASSERT_EQ(0, peer[event[i].user_data].mask) TH_LOG("reported twice");
			peer[event[i].user_data].mask = 1;
			if (event[i].late_ms > worst)
				worst = event[i].late_ms;
		}
		total += n;
	}
	TH_LOG("worst lateness %" PRIu64 " ms", worst);
	/* Where all is slow this host is what is late. */
	if (!is_slow())
		ASSERT_LE(worst, LATE_MS);
	quiet(_metadata, self, 500);
	ASSERT_EQ(N, stats_of(_metadata, self).silences);
	ASSERT_EQ(N, stats_of(_metadata, self).events);
	for (i = 0; i < N / 2; i++)
		tcp_abort(pairs[i].client);
}
