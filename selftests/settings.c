// SPDX-License-Identifier: GPL-2.0-only
/*
 * The table "What can be set" of Documentation/operations.md, for sessions and
 * peers: default, bounds, what is said to a value beyond them, and that it
 * changes nothing.  The effects are the tests that the table names.
 */
#define _GNU_SOURCE
#include "client.h"
#include "tcp.h"
#include "harness.h"

#define MS_MAX	604800000ull

#define BOTH(name, ...)	{ #name, SOCKBEAT_A_SESSION_##name, SOCKBEAT_A_PEER_##name, __VA_ARGS__ }

static const struct setting {
	const char *name;
	uint16_t session, peer;	/* attributes; 0 where it cannot be set there */
	uint64_t initial, min, max;
} settings[] = {
	BOTH(TIMEOUT_MS, 60000, 100, MS_MAX),
	BOTH(RENOTIFY_MS, 5000, 100, MS_MAX),
	BOTH(SOURCE, SOCKBEAT_SOURCE_ACTIVITY, SOCKBEAT_SOURCE_ACTIVITY, SOCKBEAT_SOURCE_EITHER),
	BOTH(TRIGGER, SOCKBEAT_TRIGGER_LEVEL, SOCKBEAT_TRIGGER_LEVEL, SOCKBEAT_TRIGGER_EDGE),
	BOTH(ACTION, SOCKBEAT_ACTION_NOTIFY, SOCKBEAT_ACTION_NOTIFY, SOCKBEAT_ACTION_ABORT),
	BOTH(ACT_AFTER_MS, 0, 0, MS_MAX),
	BOTH(SUSPECT_PERCENT, 0, 0, 99),
	BOTH(ADAPTIVE_BEATS, 0, 0, 15),
	{ "ADAPTIVE_MIN_MS", SOCKBEAT_A_SESSION_ADAPTIVE_MIN_MS, 0, 10000, 100, MS_MAX },
	{ "GUARD_PERCENT", SOCKBEAT_A_SESSION_GUARD_PERCENT, 0, 0, 0, 100 },
	{ "GUARD_WINDOW_MS", SOCKBEAT_A_SESSION_GUARD_WINDOW_MS, 0, 10000, 100, MS_MAX },
	{ "RECYCLE_DELAY_MS", SOCKBEAT_A_SESSION_RECYCLE_DELAY_MS, 0, 60000, 0, MS_MAX },
};

#define ROWS	(sizeof(settings) / sizeof(settings[0]))

FIXTURE(settings) {
	struct client c;
	struct pair pair;
	int session;
	uint64_t handle;
};

FIXTURE_SETUP(settings)
{
	struct nlmsghdr *nlh;
	struct session_reply r = {};

	ASSERT_EQ(0, client_open(&self->c));
	ASSERT_EQ(0, tcp_pair(&self->pair));
	nlh = client_cmd(&self->c, SOCKBEAT_CMD_SESSION_NEW);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_CAPACITY, 4);
	ASSERT_EQ(0, client_talk(&self->c, nlh, client_session_cb, &r));
	self->session = r.session.v[SOCKBEAT_A_SESSION_FD];
	ASSERT_EQ(0, client_add1(&self->c, self->session, self->pair.server, NULL, &self->handle));
}

FIXTURE_TEARDOWN(settings)
{
	close(self->session);
	tcp_pair_close(&self->pair);
	client_close(&self->c);
}

/* What a session, or a peer where there is a handle, has for all settings. */
static void read_all(struct __test_metadata *_metadata, FIXTURE_DATA(settings) *self,
		     uint64_t handle, uint64_t *values)
{
	struct session_reply r = {};
	struct attrs *has = &r.session;
	unsigned int i;

	ASSERT_EQ(0, handle ? client_get(&self->c, self->session, handle, has) :
			      client_session_get(&self->c, self->session, &r));
	for (i = 0; i < ROWS; i++) {
		uint16_t type = handle ? settings[i].peer : settings[i].session;

		values[i] = type ? has->v[type] : 0;
		/* A peer's that is off is not shown. */
		EXPECT_TRUE(handle || has->has[type]) TH_LOG("%s", settings[i].name);
	}
}

TEST_F(settings, defaults)
{
	uint64_t session[ROWS], peer[ROWS];
	unsigned int i;

	read_all(_metadata, self, 0, session);
	read_all(_metadata, self, self->handle, peer);
	for (i = 0; i < ROWS; i++) {
		EXPECT_EQ(settings[i].initial, session[i]) TH_LOG("%s", settings[i].name);
		if (settings[i].peer)
			EXPECT_EQ(settings[i].initial, peer[i]) TH_LOG("%s", settings[i].name);
	}
}

static void try_row(struct __test_metadata *_metadata, FIXTURE_DATA(settings) *self,
		    uint64_t handle, unsigned int row)
{
	const struct setting *s = &settings[row];
	uint16_t type = handle ? s->peer : s->session;
	const uint64_t good[] = { s->min, s->max }, bad[] = { s->min - 1, s->max + 1 };
	uint64_t before[ROWS], after[ROWS];
	int i;

	for (i = 0; i < 2; i++) {
		EXPECT_EQ(0, client_setting(&self->c, self->session, handle, type, good[i]))
			TH_LOG("%s=%llu: %s", s->name, (unsigned long long)good[i], self->c.why);
		read_all(_metadata, self, handle, after);
		EXPECT_EQ(good[i], after[row]) TH_LOG("%s", s->name);
	}
	read_all(_metadata, self, handle, before);
	for (i = 0; i < 2; i++) {
		/* What is below 0 is beyond the maximum. */
		EXPECT_EQ(-ERANGE, client_setting(&self->c, self->session, handle, type, bad[i]))
			TH_LOG("%s=%u", s->name, (uint32_t)bad[i]);
		EXPECT_STREQ("integer out of range", self->c.why);
		EXPECT_NE(0, self->c.bad_off);
		EXPECT_EQ(s->min, self->c.min) TH_LOG("%s", s->name);
		EXPECT_EQ(s->max, self->c.max) TH_LOG("%s", s->name);
	}
	read_all(_metadata, self, handle, after);
	EXPECT_EQ(0, memcmp(before, after, sizeof(before))) TH_LOG("%s", s->name);
}

TEST_F(settings, of_a_session)
{
	unsigned int i;

	for (i = 0; i < ROWS; i++)
		try_row(_metadata, self, 0, i);
}

TEST_F(settings, of_a_peer)
{
	unsigned int i;

	for (i = 0; i < ROWS; i++) {
		if (settings[i].peer)
			try_row(_metadata, self, self->handle, i);
	}
}

/* What a session is set to is for peers that are added from then on. */
TEST_F(settings, of_a_session_are_for_later_peers)
{
	uint64_t before[ROWS], after[ROWS], later[ROWS], handle;
	struct pair pair;
	unsigned int i;

	read_all(_metadata, self, self->handle, before);
	for (i = 0; i < ROWS; i++)
		ASSERT_EQ(0, client_setting(&self->c, self->session, 0, settings[i].session,
					    settings[i].max));
	ASSERT_EQ(0, tcp_pair(&pair));
	ASSERT_EQ(0, client_add1(&self->c, self->session, pair.server, NULL, &handle));
	read_all(_metadata, self, self->handle, after);
	read_all(_metadata, self, handle, later);
	EXPECT_EQ(0, memcmp(before, after, sizeof(before)));
	for (i = 0; i < ROWS; i++) {
		if (settings[i].peer)
			EXPECT_EQ(settings[i].max, later[i]) TH_LOG("%s", settings[i].name);
	}
	tcp_pair_close(&pair);
}

TEST_HARNESS_MAIN
