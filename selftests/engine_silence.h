/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Part of engine_tests.h: when a peer is reported, and as what.
 */

TEST_F(session, silent)
{
	struct sockbeat_event event[4];
	uint64_t handle[2], now;
	int i, n = 0;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 300, .renotify_ms = 5000 });
	handle[0] = add(_metadata, self, self->v4.server, 4);
	handle[1] = add_as(_metadata, self, self->v6.server, 6,
			   (struct sockbeat_peer){ .mask = SOCKBEAT_PEER_TIMEOUT,
						   .timeout_ms = 500 });
	quiet(_metadata, self, 200);
	ASSERT_EQ(SOCKBEAT_STATE_LIVE, info_of(_metadata, self, handle[0]).state);
	while (n < 2) {
		i = events_until(_metadata, self, event + n, 4 - n, self->added_ms + 2000);
		ASSERT_LT(0, i);
		now = clock_ms();
		for (; i; i--, n++) {
			uint64_t timeout = n ? 500 : 300;

			ASSERT_EQ(SILENT, event[n].kind);
			ASSERT_EQ(handle[n], event[n].handle);
			ASSERT_EQ(n ? 6 : 4, event[n].user_data);
			ASSERT_EQ(TCP_ESTABLISHED, event[n].tcp_state);
			ASSERT_GE(event[n].idle_ms, timeout);
			ASSERT_EQ(event[n].late_ms, event[n].idle_ms - timeout);
			ASSERT_LE(event[n].late_ms, LATE_MS);
			/* By our own clock too; the first peer is a bit older. */
			ASSERT_GE(now, self->added_ms + timeout - (n ? 0 : 10));
		}
	}
	ASSERT_EQ(SOCKBEAT_STATE_SILENT, info_of(_metadata, self, handle[0]).state);
	ASSERT_EQ(2, stats_of(_metadata, self).silences);
	ASSERT_EQ(2, stats_of(_metadata, self).silent);
	ASSERT_EQ(0, stats_of(_metadata, self).live);
}

/* Time before the add is not held against a peer. */
TEST_F(session, silent_before_the_add)
{
	uint64_t handle[2], end_ms = clock_ms() + 500;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 400, .renotify_ms = 5000 });
	while (clock_ms() < end_ms)
		poll(NULL, 0, end_ms - clock_ms());
	handle[0] = add(_metadata, self, self->v4.server, 0);
	handle[1] = add(_metadata, self, self->v4.client, 0);
	event_of(_metadata, self, SILENT, handle[0], 400 + LATE_MS);
	ASSERT_GE(clock_ms() + 10, self->added_ms + 400);
	event_of(_metadata, self, SILENT, handle[1], LATE_MS);
}

/* Payload at half the timeout, for 8 timeouts. */
TEST_F(session, payload_keeps_alive)
{
	uint64_t handle[2], last;
	int i;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 500, .renotify_ms = 5000 });
	handle[0] = add(_metadata, self, self->v4.server, 0);
	handle[1] = add(_metadata, self, self->v6.server, 0);
	for (i = 0; i < 16; i++) {
		quiet(_metadata, self, 250);
		/* As if the application read nothing, too. */
		last = clock_ms();
		send_byte(_metadata, self, self->v4.client);
		send_byte(_metadata, self, self->v6.client);
		ASSERT_GT(250, info_of(_metadata, self, handle[1]).idle_ms);
	}
	forget(_metadata, self, handle[1]);
	event_of(_metadata, self, SILENT, handle[0], 500 + LATE_MS);
	ASSERT_GE(clock_ms(), last + 500);
}

/* A stopped client's kernel goes on answering: that is no sign of life. */
TEST_F(session, acks_do_not_count)
{
	int one = 1, second = 1;
	struct tcp_info info;
	socklen_t len = sizeof(info);
	uint64_t handle;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 1500, .renotify_ms = 5000 });
	setsockopt(self->v4.server, IPPROTO_TCP, TCP_KEEPIDLE, &second, sizeof(second));
	setsockopt(self->v4.server, IPPROTO_TCP, TCP_KEEPINTVL, &second, sizeof(second));
	setsockopt(self->v4.server, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	handle = add(_metadata, self, self->v4.server, 0);
	quiet(_metadata, self, 500);
	/* The peer acknowledges what we send ... */
	send_byte(_metadata, self, self->v4.server);
	quiet(_metadata, self, 900);
	event_of(_metadata, self, SILENT, handle, 100 + LATE_MS);
	/* ... and a probe, a moment ago. */
	ASSERT_EQ(0, getsockopt(self->v4.server, IPPROTO_TCP, TCP_INFO, &info, &len));
	ASSERT_GT(1200, info.tcpi_last_ack_recv);
	ASSERT_LE(1500, info.tcpi_last_data_recv);
}

TEST_F(session, sources)
{
	const struct sockbeat_peer beat = { .mask = SOCKBEAT_PEER_SOURCE,
					    .source = SOCKBEAT_SOURCE_BEAT };
	const struct sockbeat_peer either = { .mask = SOCKBEAT_PEER_SOURCE,
					      .source = SOCKBEAT_SOURCE_EITHER };
	uint64_t beaten, beaten_either, paid, paid_either, seen;
	struct sockbeat_event event[4];
	int i, n, silent = 0;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 500,
						       .trigger = SOCKBEAT_TRIGGER_EDGE });
	beaten = add_as(_metadata, self, self->v4.server, 0, beat);
	beaten_either = add_as(_metadata, self, self->v6.server, 0, either);
	paid = add_as(_metadata, self, self->v4.client, 0, beat);
	paid_either = add_as(_metadata, self, self->v6.client, 0, either);
	for (i = 0; i < 6; i++) {
		n = events_until(_metadata, self, event, 4, clock_ms() + 250);
		while (n--) {
			/* Payload alone is nothing to the beat source. */
			ASSERT_EQ(paid, event[n].handle);
			ASSERT_EQ(SILENT, event[n].kind);
			ASSERT_EQ(1, ++silent);
		}
		sockbeat_beat(self->sb, beaten);
		sockbeat_beat(self->sb, beaten_either);
		send_byte(_metadata, self, self->v4.server);
		send_byte(_metadata, self, self->v6.server);
		ASSERT_GE(100, info_of(_metadata, self, beaten).idle_ms);
	}
	ASSERT_EQ(1, silent);
	ASSERT_EQ(0, stats_of(_metadata, self).bad_stamps);
	seen = clock_ms();
	for (i = 0; i < 3; i += n) {
		n = events_until(_metadata, self, event, 4, seen + 500 + PATIENCE_MS);
		ASSERT_LT(0, n);
		ASSERT_LE(500 - 20, clock_ms() - seen);
		ASSERT_NE(paid, event[0].handle);
	}
	ASSERT_EQ(SOCKBEAT_STATE_SILENT, info_of(_metadata, self, paid_either).state);
}

TEST_F(session, level_renotifies)
{
	uint64_t handle, last;
	int i;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 200, .renotify_ms = 300 });
	handle = add(_metadata, self, self->v4.server, 0);
	event_of(_metadata, self, SILENT, handle, 200 + LATE_MS);
	for (i = 0; i < 3; i++) {
		last = clock_ms();
		event_of(_metadata, self, SILENT, handle, 300 + LATE_MS);
		/* Counted from the making of the message, just before our look. */
		ASSERT_LE(300 - 20, clock_ms() - last);
	}
	ASSERT_EQ(1, stats_of(_metadata, self).silences);
	forget(_metadata, self, handle);
	quiet(_metadata, self, 600);
}

TEST_F(session, edge_tells_once)
{
	struct sockbeat_event event;
	uint64_t handle;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 200, .renotify_ms = 100,
						       .trigger = SOCKBEAT_TRIGGER_EDGE });
	handle = add(_metadata, self, self->v4.server, 0);
	event_of(_metadata, self, SILENT, handle, 200 + LATE_MS);
	quiet(_metadata, self, 800);
	/* Looked at every timeout_ms, told of the next silence as of the first. A
	 * byte just behind a look is too old at the next one.
	 */
	do
		send_byte(_metadata, self, self->v4.client);
	while (!events_until(_metadata, self, &event, 1, clock_ms() + 50));
	ASSERT_EQ(HEARD, event.kind);
	event_of(_metadata, self, SILENT, handle, 200 + LATE_MS);
	quiet(_metadata, self, 500);
	ASSERT_EQ(2, stats_of(_metadata, self).silences);
	ASSERT_EQ(3, stats_of(_metadata, self).events);
}

TEST_F(session, heard_again)
{
	struct sockbeat_event event;
	uint64_t handle, sent;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 500, .renotify_ms = 200 });
	handle = add(_metadata, self, self->v6.server, 7);
	event_of(_metadata, self, SILENT, handle, 500 + LATE_MS);
	sent = clock_ms();
	send_byte(_metadata, self, self->v6.client);
	event = event_of(_metadata, self, HEARD, handle, 200 + LATE_MS);
	ASSERT_EQ(7, event.user_data);
	ASSERT_GT(500, event.idle_ms);
	ASSERT_EQ(0, event.late_ms);
	ASSERT_EQ(SOCKBEAT_STATE_LIVE, info_of(_metadata, self, handle).state);
	ASSERT_EQ(1, stats_of(_metadata, self).recoveries);
	event_of(_metadata, self, SILENT, handle, 500 + LATE_MS);
	ASSERT_LE(500, clock_ms() - sent);
}

TEST_F(session, gone_on_reset)
{
	struct sockbeat_event event;
	struct sockbeat_info info;
	uint64_t handle;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 300, .renotify_ms = 300 });
	handle = add(_metadata, self, self->v4.server, 9);
	tcp_abort(self->v4.client);
	event = event_of(_metadata, self, GONE, handle, 300 + LATE_MS);
	ASSERT_EQ(9, event.user_data);
	ASSERT_EQ(TCP_CLOSE, event.tcp_state);
	info = info_of(_metadata, self, handle);
	ASSERT_EQ(SOCKBEAT_STATE_GONE, info.state);
	ASSERT_EQ(0, info.tcp_state);
	ASSERT_EQ(0, info.cookie);
	/* The slot stays, and level means until handled. */
	event_of(_metadata, self, GONE, handle, 300 + LATE_MS);
	ASSERT_EQ(1, stats_of(_metadata, self).gone);
	ASSERT_EQ(1, stats_of(_metadata, self).sockets_gone);
	forget(_metadata, self, handle);
	quiet(_metadata, self, 600);
	ASSERT_EQ(0, stats_of(_metadata, self).gone);
}

TEST_F(session, gone_is_told_once_at_edge)
{
	uint64_t handle;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 200, .renotify_ms = 100,
						       .trigger = SOCKBEAT_TRIGGER_EDGE });
	handle = add(_metadata, self, self->v6.server, 0);
	tcp_abort(self->v6.client);
	event_of(_metadata, self, GONE, handle, 200 + LATE_MS);
	quiet(_metadata, self, 600);
}

/* The owner closes without peer-del; the number then names another socket. */
TEST_F(session, gone_on_close)
{
	uint64_t handle, second;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 300, .renotify_ms = 60000 });
	handle = add(_metadata, self, self->v4.server, 0);
	ASSERT_EQ(self->v4.server, dup2(self->v6.server, self->v4.server));
	second = add(_metadata, self, self->v4.server, 0);
	ASSERT_NE(sockbeat_index(handle), sockbeat_index(second));
	/* One that is alive keeps the order of events plain. */
	send_byte(_metadata, self, self->v6.client);
	event_of(_metadata, self, GONE, handle, 300 + LATE_MS);
	event_of(_metadata, self, SILENT, second, 300 + LATE_MS);
}

TEST_F(session, gone_on_shutdown)
{
	struct pair pair;
	uint64_t handle;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 300, .renotify_ms = 60000 });
	handle = add(_metadata, self, self->v4.server, 0);
	/* Half closed is not gone. */
	ASSERT_EQ(0, shutdown(self->v4.server, SHUT_WR));
	event_of(_metadata, self, SILENT, handle, 300 + LATE_MS);
	forget(_metadata, self, handle);
	/* Closed by both ends is, ... */
	handle = add(_metadata, self, self->v6.server, 0);
	ASSERT_EQ(0, shutdown(self->v6.client, SHUT_WR));
	ASSERT_EQ(0, shutdown(self->v6.server, SHUT_WR));
	event_of(_metadata, self, GONE, handle, 300 + LATE_MS);
	/* ... and so is closed by us for both directions, whatever the peer does. */
	ASSERT_EQ(0, tcp_pair(&pair));
	handle = add(_metadata, self, pair.server, 0);
	ASSERT_EQ(0, shutdown(pair.server, SHUT_RDWR));
	event_of(_metadata, self, GONE, handle, 300 + LATE_MS);
	tcp_pair_close(&pair);
}
