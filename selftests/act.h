/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The fixture of act.c and guard.c: a session whose clients are behind a cable.
 */
#ifndef SELFTESTS_ACT_H
#define SELFTESTS_ACT_H

#include <sys/resource.h>
#include "cable.h"
#include "client.h"
#include "harness.h"

#define TICK_MS		100
#define LATE_MS		(2 * TICK_MS)
#define MASS		10000

FIXTURE(act) {
	struct client c;	/* events */
	struct client cmd;	/* requests */
	struct cable cable;
	int session;
};

FIXTURE_SETUP(act)
{
	struct rlimit files = { 2 * MASS + 1000, 2 * MASS + 1000 };

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	ASSERT_EQ(0, cable_lay(&self->cable));
	ASSERT_EQ(0, client_open(&self->c));
	ASSERT_EQ(0, client_open(&self->cmd));
	self->session = client_session_new(&self->c, MASS, 1000, 0, SOCKBEAT_TRIGGER_EDGE, NULL);
	ASSERT_LE(0, self->session);
}

FIXTURE_TEARDOWN(act)
{
	close(self->session);
	client_close(&self->c);
	client_close(&self->cmd);
	cable_remove(&self->cable);
}

#define SESSION(name, value) \
	ASSERT_EQ(0, client_setting(&self->cmd, self->session, 0, SOCKBEAT_A_SESSION_##name, value)) \
		TH_LOG("%s", self->cmd.why)
#define PEER(handle, name, value) \
	ASSERT_EQ(0, client_setting(&self->cmd, self->session, handle, SOCKBEAT_A_PEER_##name, value)) \
		TH_LOG("%s", self->cmd.why)
#define STAT(name) ((unsigned long long)client_stat(&self->cmd, self->session, SOCKBEAT_A_STATS_##name))

#define EVENT(wanted, handle_) ({							\
	struct event ev_ = {};								\
	ASSERT_TRUE(client_event(&self->c, &ev_, 20000)) TH_LOG("no " #wanted);	\
	ASSERT_EQ(SOCKBEAT_EVENT_KIND_##wanted, ev_.kind);				\
	ASSERT_EQ(handle_, ev_.handle);							\
	ev_; })

/* However often its silence is told before, which need not be at all. */
#define EVENT_BEHIND_SILENCE(wanted, handle_) ({					\
	struct event ev_ = {};								\
	do {										\
		ASSERT_TRUE(client_event(&self->c, &ev_, 20000)) TH_LOG("no " #wanted);	\
		ASSERT_EQ(handle_, ev_.handle);						\
	} while (ev_.kind == SOCKBEAT_EVENT_KIND_SILENT);				\
	ASSERT_EQ(SOCKBEAT_EVENT_KIND_##wanted, ev_.kind);				\
	ev_; })
#define GONE(handle_) EVENT_BEHIND_SILENCE(GONE, handle_)

static inline uint64_t track(struct __test_metadata *_metadata, FIXTURE_DATA(act) *self,
			     struct pair *pair)
{
	uint64_t handle = 0;

	ASSERT_EQ(0, cable_connect(&self->cable, pair));
	ASSERT_EQ(0, client_add1(&self->cmd, self->session, pair->server, NULL, &handle));
	return handle;
}

#endif /* SELFTESTS_ACT_H */
