/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The fixture of the tests of delayed recycle.
 */
#ifndef SELFTESTS_RECYCLE_H
#define SELFTESTS_RECYCLE_H

#include "client.h"
#include "tcp.h"
#include "harness.h"

#define TICK_MS		100
#define RECYCLING	SOCKBEAT_STATE_RECYCLING
#define RECYCLED	SOCKBEAT_EVENT_KIND_RECYCLED

/* How long to wait for what must come; how late it came is asked elsewhere. */
#define PATIENCE_MS	20000

FIXTURE(recycle) {
	struct client ev;	/* events */
	struct client c;	/* requests */
	int session;		/* of 4 slots */
	struct pair pair;
};

FIXTURE_SETUP(recycle)
{
	ASSERT_EQ(0, client_open(&self->ev));
	ASSERT_EQ(0, client_open(&self->c));
	self->session = client_session_new(&self->ev, 4, 60000, 500,
					   SOCKBEAT_TRIGGER_EDGE, NULL);
	ASSERT_LE(0, self->session) {
		TH_LOG("%s", self->ev.why);
	}
	ASSERT_EQ(0, tcp_pair(&self->pair));
}

FIXTURE_TEARDOWN(recycle)
{
	tcp_pair_close(&self->pair);
	close(self->session);
	client_close(&self->ev);
	client_close(&self->c);
}

#define SELF	struct __test_metadata *_metadata, FIXTURE_DATA(recycle) *self

static inline uint64_t add(SELF, int fd, uint64_t user_data)
{
	struct peer_conf conf = { KEEP, KEEP, KEEP, user_data };
	uint64_t handle = 0;

	ASSERT_EQ(0, client_add1(&self->c, self->session, fd, &conf, &handle)) {
		TH_LOG("%s", self->c.why);
	}
	return handle;
}

static inline void recycle(SELF, uint64_t handle, uint32_t delay_ms, uint32_t end, bool hold)
{
	struct recycle_conf conf = { delay_ms, end, hold };

	ASSERT_EQ(0, client_retire(&self->c, self->session, SOCKBEAT_CMD_PEER_RECYCLE, &handle, 1,
				   &conf)) {
		TH_LOG("%s", self->c.why);
	}
}

static inline struct event event_of(SELF, uint32_t kind, uint64_t handle)
{
	struct event ev = {};

	ASSERT_TRUE(client_event(&self->ev, &ev, PATIENCE_MS)) {
		TH_LOG("no event %u of %#llx", kind, (unsigned long long)handle);
	}
	ASSERT_EQ(kind, ev.kind);
	ASSERT_EQ(handle, ev.handle);
	return ev;
}

static inline void quiet(SELF, uint64_t wait_ms)
{
	struct event ev = {};

	ASSERT_FALSE(client_event(&self->ev, &ev, wait_ms)) {
		TH_LOG("event %u of %#llx", ev.kind, (unsigned long long)ev.handle);
	}
}

static inline uint64_t stat_of(SELF, int type)
{
	return client_stat(&self->c, self->session, type);
}

/* What was added is in some state, or freed by the one cause or the other. */
static inline void adds_up(SELF)
{
	struct session_reply r;

	ASSERT_EQ(0, client_session_get(&self->c, self->session, &r));
	ASSERT_EQ(r.stats.v[SOCKBEAT_A_STATS_ADDED],
		  r.stats.v[SOCKBEAT_A_STATS_LIVE] + r.stats.v[SOCKBEAT_A_STATS_SILENT] +
		  r.stats.v[SOCKBEAT_A_STATS_GONE] + r.stats.v[SOCKBEAT_A_STATS_RECYCLING] +
		  r.stats.v[SOCKBEAT_A_STATS_DELETED] + r.stats.v[SOCKBEAT_A_STATS_RECYCLED]);
}

#endif /* SELFTESTS_RECYCLE_H */
