/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Profiles and positions in the library, on either engine.
 */

TEST_F(session, shipped_profiles)
{
	const struct sockbeat_profile *profile;
	size_t n;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 16 });
	for (n = 0; (profile = sockbeat_profile_shipped(n)); n++) {
		ASSERT_EQ(profile, sockbeat_profile_named(profile->name));
		ASSERT_EQ(0, sockbeat_profile_set(self->sb, n + 1, profile))
			TH_LOG("%s: %s", profile->name, sockbeat_strerror(self->sb));
	}
	ASSERT_EQ(5, n);
	ASSERT_EQ(NULL, sockbeat_profile_named("gopher"));
}

static void match(SELF, const char *name, const void *frame, size_t len, const void *reply,
		  size_t reply_len)
{
	char answer[SOCKBEAT_MAX_FRAME_BYTES], more[128];
	size_t answer_len;

	ASSERT_EQ(0, sockbeat_profile_set(self->sb, 1, sockbeat_profile_named(name)));
	ASSERT_EQ(len, sockbeat_profile_match(self->sb, 1, frame, len, answer, &answer_len));
	ASSERT_EQ(reply_len, answer_len);
	ASSERT_EQ(0, memcmp(reply, answer, reply_len));
	for (size_t part = 1; part < len; part++) {
		ASSERT_EQ(-EAGAIN, sockbeat_profile_match(self->sb, 1, frame, part, answer,
							  &answer_len));
		ASSERT_EQ(0, answer_len);
	}
	memcpy(more, frame, len);
	memset(more + len, '~', sizeof(more) - len);
	ASSERT_EQ(len, sockbeat_profile_match(self->sb, 1, more, sizeof(more), answer,
					      &answer_len));
	ASSERT_EQ(0, sockbeat_profile_match(self->sb, 1, "~", 1, answer, &answer_len));
}

TEST_F(session, heartbeats_of_protocols)
{
	start(_metadata, self, (struct sockbeat_opts){ .capacity = 16 });
	match(_metadata, self, "native", "\0\10\0\0\0\0\0\0", 8, "\0\10\0\0\0\0\0\0", 8);
	match(_metadata, self, "resp", "PING\r\n", 6, "+PONG\r\n", 7);
	match(_metadata, self, "resp", "ping\r\n", 6, "+PONG\r\n", 7);
	match(_metadata, self, "resp", "*1\r\n$4\r\npInG\r\n", 14, "+PONG\r\n", 7);
	match(_metadata, self, "mqtt", "\300\0", 2, "\320\0", 2);
	match(_metadata, self, "websocket", "\211\200mask", 6, "\212\0", 2);
	match(_metadata, self, "websocket", "\212\200mask", 6, "", 0);
	match(_metadata, self, "http2", "\0\0\10\6\0\0\0\0\0opaque!!", 17,
	      "\0\0\10\6\1\0\0\0\0opaque!!", 17);
}

TEST_F(session, no_heartbeats_of_protocols)
{
	static const struct { const char *name, *bytes; size_t len; } other[] = {
		{ "native", "\0\10\0\1\0\0\0\0", 8 },
		{ "resp", "PING x\r\n", 8 },
		{ "resp", "PONG\r\n", 6 },
		{ "mqtt", "\300\1", 2 },
		{ "websocket", "\211\0", 2 },		/* not masked */
		{ "http2", "\0\0\10\6\1\0\0\0\0opaque!!", 17 },	/* not our answer */
		{ "http2", "\0\0\10\6\0\0\0\0\1opaque!!", 17 },	/* of a stream */
	};
	char answer[SOCKBEAT_MAX_FRAME_BYTES];
	size_t answer_len;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 16 });
	for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
		ASSERT_EQ(0, sockbeat_profile_set(self->sb, 1,
						  sockbeat_profile_named(other[i].name)));
		ASSERT_EQ(0, sockbeat_profile_match(self->sb, 1, other[i].bytes, other[i].len,
						    answer, &answer_len)) TH_LOG("%zu", i);
	}
}

static void bad_profile(SELF, const char *why, struct sockbeat_pattern p)
{
	struct sockbeat_profile profile = { .patterns = &p, .n_patterns = 1 };

	ASSERT_EQ(-EINVAL, sockbeat_profile_set(self->sb, 1, &profile));
	says(_metadata, self, "profile-set", "profile 1", why);
}

TEST_F(session, bad_profiles)
{
	struct sockbeat_pattern p = { .value = "value", .len = 5, .reply = "reply", .reply_len = 5 };
	struct sockbeat_profile profile = { .patterns = &p, .n_patterns = 0 };
	struct sockbeat_peer peer = { .fd = self->v4.server };
	char answer[SOCKBEAT_MAX_FRAME_BYTES];
	size_t answer_len;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 16 });
	ASSERT_EQ(-EINVAL, sockbeat_profile_set(self->sb, 1, &profile));
	says(_metadata, self, "profile-set", "profile 1", "1 to 4 patterns");
	profile.n_patterns = 5;
	ASSERT_EQ(-EINVAL, sockbeat_profile_set(self->sb, 1, &profile));
	profile.n_patterns = 1;
	ASSERT_EQ(-EINVAL, sockbeat_profile_set(self->sb, 0, &profile));
	says(_metadata, self, "profile-set", "id 0", "1..15");
	ASSERT_EQ(-EINVAL, sockbeat_profile_set(self->sb, 16, &profile));
	profile.min_interval_ms = 604800001;
	ASSERT_EQ(-EINVAL, sockbeat_profile_set(self->sb, 1, &profile));
	says(_metadata, self, "profile-set", "min_interval_ms 604800001", "0..604800000");
	bad_profile(_metadata, self, "value has to be 1 to 64 bytes",
		    (struct sockbeat_pattern){ .reply = "x", .reply_len = 1 });
	bad_profile(_metadata, self, "value has to be 1 to 64 bytes",
		    (struct sockbeat_pattern){ .value = "x", .len = 65 });
	bad_profile(_metadata, self, "reply has to be 0 to 64 bytes",
		    (struct sockbeat_pattern){ .value = "x", .len = 1, .reply = "y",
					       .reply_len = 300 });
	bad_profile(_metadata, self, "beyond the pattern's value",
		    (struct sockbeat_pattern){ .value = "value", .len = 5, .reply = "reply",
					       .reply_len = 5, .copy_from = 1, .copy_bytes = 5 });
	bad_profile(_metadata, self, "beyond the pattern's reply",
		    (struct sockbeat_pattern){ .value = "value", .len = 5, .reply = "reply",
					       .reply_len = 5, .copy_to = 256, .copy_bytes = 1 });

	ASSERT_EQ(-ENOENT, sockbeat_profile_del(self->sb, 1));
	ASSERT_EQ(-ENOENT, sockbeat_profile_match(self->sb, 1, "x", 1, answer, &answer_len));
	peer.mask = SOCKBEAT_PEER_PROFILE;
	peer.profile = 16;
	ASSERT_EQ(0, sockbeat_add(self->sb, &peer, 1));
	says(_metadata, self, "peer-add: entry 0", "profile 16", "0..15");
	peer.profile = 1;
	ASSERT_EQ(0, sockbeat_add(self->sb, &peer, 1));
	ASSERT_EQ(-ENOENT, peer.error);
	says(_metadata, self, "peer-add: entry 0", "no such profile", "session");
	peer.mask = SOCKBEAT_PEER_PROBE;
	peer.probe_after_ms = 604800001;
	ASSERT_EQ(0, sockbeat_add(self->sb, &peer, 1));
	says(_metadata, self, "peer-add: entry 0", "probe_after_ms 604800001", "0..604800000");
	peer.probe_after_ms = 1000;
	ASSERT_EQ(0, sockbeat_add(self->sb, &peer, 1));
	ASSERT_EQ(ENGINE == SOCKBEAT_ENGINE_KERNEL ? -EINVAL : -EOPNOTSUPP, peer.error);
}

/* A profile may be had on either engine: without the module the heartbeats are
 * simply the application's.
 */
TEST_F(session, profile_of_a_peer)
{
	struct sockbeat_peer peer = { .mask = SOCKBEAT_PEER_PROFILE, .profile = 3 };
	struct sockbeat_conn conn;
	char bytes[16];

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 16 });
	ASSERT_EQ(0, sockbeat_profile_set(self->sb, 3, sockbeat_profile_named("native")));
	sockbeat_conn_begin(self->sb, &conn,
			    add_as(_metadata, self, self->v4.server, 0, peer));
	ASSERT_EQ(4, send(self->v4.client, "data", 4, 0));
	ASSERT_EQ(4, sockbeat_conn_read(&conn, self->v4.server, bytes, sizeof(bytes)));
	ASSERT_EQ(0, memcmp("data", bytes, 4));
	ASSERT_EQ(6, sockbeat_conn_write(&conn, self->v4.server, "answer", 6));
	ASSERT_EQ(6, recv(self->v4.client, bytes, sizeof(bytes), 0));
	ASSERT_EQ(0, sockbeat_conn_done(&conn, 0, 0));
	ASSERT_EQ(0, sockbeat_conn_check(&conn)) TH_LOG("%s", sockbeat_strerror(self->sb));
}
