// SPDX-License-Identifier: GPL-2.0-only
/*
 * Many that fall silent at once: the guard against a mass of them, and what is
 * done to them where there is none.
 */
#define _GNU_SOURCE
#include "act.h"

static int mass(void)
{
	return is_slow() ? MASS / 10 : MASS;
}

static void connect_mass(struct __test_metadata *_metadata, FIXTURE_DATA(act) *self,
			 struct pair *pairs, int n)
{
	static uint64_t handles[256];
	int i, j, fds[256];

	/* Nobody falls silent while they are added. */
	SESSION(TIMEOUT_MS, 600000);
	for (i = 0; i < n; i += j) {
		for (j = 0; j < 250 && i + j < n; j++) {
			ASSERT_EQ(0, cable_connect(&self->cable, &pairs[i + j]));
			fds[j] = pairs[i + j].server;
		}
		ASSERT_EQ(0, client_add(&self->cmd, self->session, fds, j, NULL, handles));
	}
}

static void all_timeouts(struct __test_metadata *_metadata, FIXTURE_DATA(act) *self, int n,
			 uint32_t ms)
{
	struct peer_conf conf = { ms, KEEP, KEEP, 0 };
	uint64_t handles[250];
	int i, j;

	for (i = 0; i < n; i += j) {
		for (j = 0; j < 250 && i + j < n; j++)
			handles[j] = 1ull << 32 | (i + j);
		ASSERT_EQ(0, client_handles(&self->cmd, self->session, SOCKBEAT_CMD_PEER_SET,
					    handles, j, &conf));
	}
}

/* Take events until as many of a kind have come; counts them by kind. */
static void events_until(struct __test_metadata *_metadata, FIXTURE_DATA(act) *self, int *seen,
			 uint32_t kind, int wanted)
{
	struct event ev;

	while (seen[kind] < wanted) {
		ASSERT_TRUE(client_event(&self->c, &ev, 30000))
			TH_LOG("%d of kind %u; %llu silences, %llu silent, %llu events, errno %d", seen[kind],
			       kind, STAT(SILENCES), STAT(SILENT), STAT(EVENTS), errno);
		ASSERT_GE(SOCKBEAT_EVENT_KIND_GUARD_OVER, ev.kind);
		seen[ev.kind]++;
	}
}

#define UNTIL(kind, wanted) \
	events_until(_metadata, self, seen, SOCKBEAT_EVENT_KIND_##kind, wanted)

/* This host's own network fails: nobody is closed, and all come back. */
TEST_F_TIMEOUT(act, guard, 800)
{
	static struct pair pairs[MASS];
	int i, n = mass(), seen[8] = {}, rcvbuf = 1 << 20;
	struct session_reply r;

	setsockopt(client_fd(&self->c), SOL_SOCKET, SO_RCVBUFFORCE, &rcvbuf, sizeof(rcvbuf));
	SESSION(GUARD_PERCENT, 50);
	/* Within which all of them fall silent. */
	SESSION(GUARD_WINDOW_MS, mass() < MASS ? 40000 : 5000);
	SESSION(ACTION, SOCKBEAT_ACTION_ABORT);
	connect_mass(_metadata, self, pairs, n);
	ASSERT_EQ(0, cable_pull(&self->cable));
	all_timeouts(_metadata, self, n, 1000);
	UNTIL(SILENT, n);
	EXPECT_EQ(1, seen[SOCKBEAT_EVENT_KIND_GUARD]);
	EXPECT_EQ(1, STAT(GUARDS));
	ASSERT_EQ(0, client_session_get(&self->cmd, self->session, &r));
	EXPECT_EQ(1, r.session.v[SOCKBEAT_A_SESSION_GUARDING]);
	/* Longer than the window, after which they would be acted on. */
	while (STAT(ACTS_GUARDED) < n)
		usleep(100000);
	EXPECT_EQ(0, STAT(ABORTS));
	ASSERT_EQ(0, cable_plug(&self->cable));
	all_timeouts(_metadata, self, n, 60000);
	for (i = 0; i < n; i++)
		ASSERT_EQ(1, write(pairs[i].client, "x", 1));
	UNTIL(HEARD, n);
	/* It is told ahead of the peers, when most of them are live again. */
	UNTIL(GUARD_OVER, 1);
	EXPECT_EQ(n, STAT(LIVE));
	EXPECT_EQ(0, STAT(ABORTS) + STAT(SHUTDOWNS) + STAT(SOCKETS_GONE));
	EXPECT_EQ(1, STAT(GUARDS));
}

/* Without it all are closed, no more of them in a tick than are allowed. */
TEST_F_TIMEOUT(act, no_guard, 800)
{
	static struct pair pairs[MASS];
	int n = mass(), seen[8] = {}, rcvbuf = 1 << 20;
	uint64_t checks, ticks;

	setsockopt(client_fd(&self->c), SOL_SOCKET, SO_RCVBUFFORCE, &rcvbuf, sizeof(rcvbuf));
	ASSERT_EQ(0, sh("echo 512 >/sys/module/sockbeat/parameters/max_expire_per_tick"));
	SESSION(ACTION, SOCKBEAT_ACTION_ABORT);
	connect_mass(_metadata, self, pairs, n);
	ASSERT_EQ(0, cable_pull(&self->cable));
	checks = STAT(CHECKS);
	ticks = STAT(TICKS);
	all_timeouts(_metadata, self, n, 1000);
	UNTIL(GONE, n);
	EXPECT_EQ(0, seen[SOCKBEAT_EVENT_KIND_GUARD]);
	EXPECT_EQ(n, STAT(ABORTS));
	EXPECT_EQ(n, STAT(GONE));
	EXPECT_GE(512 * (STAT(TICKS) - ticks), STAT(CHECKS) - checks);
	EXPECT_EQ(0, sh("echo 16384 >/sys/module/sockbeat/parameters/max_expire_per_tick"));
}

/* A few silent peers are no mass, whatever part of all they are. */
TEST_F(act, few_are_no_mass)
{
	uint64_t handle;
	struct pair pair;

	SESSION(GUARD_PERCENT, 1);
	SESSION(GUARD_WINDOW_MS, 1000);
	SESSION(ACTION, SOCKBEAT_ACTION_ABORT);
	handle = track(_metadata, self, &pair);
	GONE(handle);
	EXPECT_EQ(0, STAT(GUARDS));
}

/* Who is found late, after a stall or by a shorter timeout, has the window too. */
TEST_F(act, found_late)
{
	struct pair pairs[20];
	int i, seen[8] = {};

	SESSION(GUARD_PERCENT, 50);
	SESSION(GUARD_WINDOW_MS, 2000);
	SESSION(ACTION, SOCKBEAT_ACTION_ABORT);
	SESSION(TIMEOUT_MS, 60000);
	for (i = 0; i < 20; i++)
		track(_metadata, self, &pairs[i]);
	/* Longer than the timeout to come and the window together. */
	usleep(3500000);
	/* They are too few for it yet. */
	all_timeouts(_metadata, self, 5, 1000);
	UNTIL(SILENT, 5);
	all_timeouts(_metadata, self, 20, 1000);
	UNTIL(SILENT, 20);
	EXPECT_EQ(1, seen[SOCKBEAT_EVENT_KIND_GUARD]);
	while (STAT(ACTS_GUARDED) < 20)
		usleep(100000);
	EXPECT_EQ(0, STAT(ABORTS));
}

/* To set the guard to nothing ends it. */
TEST_F(act, guard_is_set_off)
{
	struct pair pairs[20];
	int i, seen[8] = {};

	SESSION(GUARD_PERCENT, 50);
	SESSION(GUARD_WINDOW_MS, 600000);
	SESSION(ACTION, SOCKBEAT_ACTION_ABORT);
	for (i = 0; i < 20; i++)
		track(_metadata, self, &pairs[i]);
	UNTIL(SILENT, 20);
	EXPECT_EQ(1, seen[SOCKBEAT_EVENT_KIND_GUARD]);
	SESSION(GUARD_PERCENT, 0);
	UNTIL(GUARD_OVER, 1);
	UNTIL(GONE, 20);
}

/* All clients are heard now, so all fall silent together. */
static void all_heard(struct __test_metadata *_metadata, struct pair *pairs, int n)
{
	for (int i = 0; i < n; i++)
		ASSERT_EQ(1, send(pairs[i].client, "x", 1, MSG_NOSIGNAL));
}

/* So does who is told of seldom. */
TEST_F(act, guard_ends_for_those_told_seldom)
{
	struct pair pairs[20];
	int i, seen[8] = {};

	SESSION(GUARD_PERCENT, 50);
	SESSION(GUARD_WINDOW_MS, 2000);
	SESSION(ACTION, SOCKBEAT_ACTION_ABORT);
	SESSION(TRIGGER, SOCKBEAT_TRIGGER_LEVEL);
	SESSION(RENOTIFY_MS, 600000);
	for (i = 0; i < 20; i++)
		track(_metadata, self, &pairs[i]);
	UNTIL(SILENT, 20);
	while (STAT(ACTS_GUARDED) < 40)
		usleep(100000);
	SESSION(GUARD_PERCENT, 0);
	UNTIL(GUARD_OVER, 1);
	UNTIL(GONE, 20);
}

/* Two that fall silent again and again are no mass, and save nobody. */
TEST_F(act, flapping_is_no_mass)
{
	struct pair pairs[20], dead;
	uint64_t handle, until_ms;
	int i, seen[8] = {};
	struct event ev;

	SESSION(GUARD_PERCENT, 50);
	SESSION(GUARD_WINDOW_MS, 4000);
	SESSION(ACTION, SOCKBEAT_ACTION_ABORT);
	SESSION(RENOTIFY_MS, 100);
	SESSION(TIMEOUT_MS, 600000);
	for (i = 0; i < 20; i++) {
		handle = track(_metadata, self, &pairs[i]);
		if (i < 2)
			PEER(handle, TIMEOUT_MS, 300);
	}
	handle = track(_metadata, self, &dead);
	PEER(handle, TIMEOUT_MS, 1000);
	until_ms = now_ms() + 10000;
	do {
		all_heard(_metadata, pairs, 2);
		while (client_event(&self->c, &ev, 600))
			seen[ev.kind] += ev.kind != SOCKBEAT_EVENT_KIND_GONE || ev.handle == handle;
	} while (!seen[SOCKBEAT_EVENT_KIND_GONE] && now_ms() < until_ms);
	EXPECT_EQ(1, seen[SOCKBEAT_EVENT_KIND_GONE]);
	EXPECT_LT(10, seen[SOCKBEAT_EVENT_KIND_SILENT]);
	EXPECT_EQ(0, STAT(GUARDS));
}

#define LINE		900	/* so many to be ended at once that it takes a while */

/* Bring that about, and return when the first of them was ended. */
static void stand_in_line(struct __test_metadata *_metadata, FIXTURE_DATA(act) *self,
			  struct pair *pairs)
{
	/* All in one tick. */
	close(self->session);
	ASSERT_EQ(0, sh("echo 1000 >/sys/module/sockbeat/parameters/tick_ms"));
	self->session = client_session_new(&self->c, LINE, 1000, 0, SOCKBEAT_TRIGGER_EDGE, NULL);
	ASSERT_EQ(0, sh("echo %d >/sys/module/sockbeat/parameters/tick_ms", TICK_MS));
	ASSERT_LE(0, self->session);
	SESSION(ACTION, SOCKBEAT_ACTION_ABORT);
	SESSION(ACT_AFTER_MS, 2000);
	connect_mass(_metadata, self, pairs, LINE);
	all_heard(_metadata, pairs, LINE);
	all_timeouts(_metadata, self, LINE, 5000);
	for (int i = 0; tcp_state(pairs[i].server) == TCP_ESTABLISHED; i = (i + 1) % LINE)
		;
}

/* Who is heard while he waits in line is not ended. */
TEST_F_TIMEOUT(act, heard_while_it_waits, 120)
{
	static struct pair pairs[LINE];
	static bool is_heard[LINE];
	int i, heard = 0, lost = 0;

	stand_in_line(_metadata, self, pairs);
	for (i = LINE - 1; i >= 0; i--) {
		if (tcp_state(pairs[i].server) != TCP_ESTABLISHED ||
		    send(pairs[i].client, "x", 1, MSG_NOSIGNAL) != 1)
			continue;
		is_heard[i] = tcp_state(pairs[i].server) == TCP_ESTABLISHED;
		heard += is_heard[i];
	}
	while (STAT(SILENT))
		usleep(10000);
	for (i = 0; i < LINE; i++)
		lost += is_heard[i] && tcp_state(pairs[i].server) != TCP_ESTABLISHED;
	TH_LOG("%d of %d were heard before their end, %d of these were ended", heard, LINE, lost);
	/* One may have been heard while it was being ended. */
	EXPECT_GE(1, lost);
}

/* The news of an end says that it was the kernel's where it was, and only there. */
TEST_F_TIMEOUT(act, closed_while_it_waits, 120)
{
	static struct pair pairs[LINE];
	unsigned long long acted = 0;
	struct event ev;
	int i;

	stand_in_line(_metadata, self, pairs);
	for (i = LINE - 1; i >= 0; i--)
		close(pairs[i].server);
	for (i = 0; i < LINE;) {
		if (!client_event(&self->c, &ev, 20000)) {
			/* Nothing is lost by that. */
			ASSERT_EQ(ENOBUFS, errno);
			continue;
		}
		i += ev.kind == SOCKBEAT_EVENT_KIND_GONE;
		acted += ev.kind == SOCKBEAT_EVENT_KIND_GONE && ev.action;
	}
	TH_LOG("%llu of %d were ended by the kernel", acted, LINE);
	EXPECT_EQ(STAT(ABORTS), acted);
}

/* That a silence is found at the next tick only does not make it late. */
TEST_F(act, small_window_is_not_late)
{
	static struct pair pairs[80];
	uint64_t handles[80];
	int i, seen[8] = {};

	SESSION(GUARD_PERCENT, 100);
	SESSION(GUARD_WINDOW_MS, TICK_MS);
	SESSION(ACTION, SOCKBEAT_ACTION_ABORT);
	SESSION(TIMEOUT_MS, 60000);
	for (i = 0; i < 80; i++)
		handles[i] = track(_metadata, self, &pairs[i]);
	all_heard(_metadata, pairs, 80);
	for (i = 0; i < 80; i++)
		PEER(handles[i], TIMEOUT_MS, 1000 + i * TICK_MS / 2);
	UNTIL(SILENT, 60);
	EXPECT_LT(0, STAT(ABORTS));
}

/* Those that a guard keeps are not looked at all the time, told or not. */
TEST_F(act, guarded_at_leisure)
{
	struct pair pairs[64];
	unsigned long long checks;
	int i, seen[8] = {};

	SESSION(GUARD_PERCENT, 50);
	SESSION(TIMEOUT_MS, 4000);
	SESSION(GUARD_WINDOW_MS, 4000);
	SESSION(RENOTIFY_MS, 60000);
	SESSION(ACTION, SOCKBEAT_ACTION_ABORT);
	for (i = 0; i < 64; i++)
		track(_metadata, self, &pairs[i]);
	UNTIL(SILENT, 64);
	while (STAT(ACTS_GUARDED) < 64)
		usleep(10000);
	checks = STAT(CHECKS);
	sleep(3);
	EXPECT_GE(checks + 64, STAT(CHECKS));
}

TEST_HARNESS_MAIN
