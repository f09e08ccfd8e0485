// SPDX-License-Identifier: GPL-2.0-only
/*
 * Probes that the kernel sends, and what it says of where the application stands.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>

#include "offload.h"

/* In clear text, so that it can be told from what was sent. */
static const char websocket_ping[] = "\211\0";
static const struct pattern websocket[] = {
	{ "\211\200....", 6, "\377\377\0\0\0\0", "\212\0", 2 },
	{ "\212\200....", 6, "\377\377\0\0\0\0", .answers_probe = true },
};
static const struct profile with_probe = {
	.id = 2, .probe = websocket_ping, .probe_len = 2, .pattern = websocket, .n = 2,
};

/* The same bytes are heartbeat, answer, probe and its answer. */
static const struct pattern echoes[] = {
	{ HEARTBEAT, HEARTBEAT_BYTES, .answers_probe = true },
	{ HEARTBEAT, HEARTBEAT_BYTES, NULL, HEARTBEAT, HEARTBEAT_BYTES },
};
static const struct profile echo = {
	.id = 2, .probe = HEARTBEAT, .probe_len = HEARTBEAT_BYTES, .pattern = echoes, .n = 2,
};

TEST_F(offload, probe_finds_a_peer_alive)
{
	struct peer_conf conf = { 2000, KEEP, KEEP, 0, GIVE(2), GIVE(500) };
	uint64_t end = now_ms() + 6000;
	struct profile p = with_probe;
	struct event ev;

	/* That is about heartbeats, not about answers. */
	p.min_interval_ms = 600000;
	ASSERT_EQ(0, client_profile(&self->c, self->session, &p)) {
		TH_LOG("%s", self->c.why);
	}
	ASSERT_EQ(0, client_set(&self->c, self->session, self->handle, &conf)) {
		TH_LOG("%s", self->c.why);
	}
	/* Its own pings are answered, too. */
	client_sends(_metadata, self, "\211\200mask", 6);
	ASSERT_TRUE(receives(self->pair.client, "\212\0", 2));
	/* Then this peer sends nothing but answers. */
	while (now_ms() < end) {
		ASSERT_TRUE(receives(self->pair.client, websocket_ping, 2));
		client_sends(_metadata, self, "\212\200mask", 6);
	}
	ASSERT_EQ(0, stat_of(_metadata, self, SOCKBEAT_A_STATS_SILENCES));
	ASSERT_LE(3, stat_of(_metadata, self, SOCKBEAT_A_STATS_PROBES));
	ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_PROBES_ANSWERED,
			    stat_of(_metadata, self, SOCKBEAT_A_STATS_PROBES)));
	ASSERT_FALSE(is_readable(self->pair.server));
	/* Who does not answer is found: TCP's own ACK of the probe is none. */
	ASSERT_TRUE(client_event(&self->ev, &ev, PATIENCE_MS));
	ASSERT_EQ(SOCKBEAT_EVENT_KIND_SILENT, ev.kind);
	ASSERT_LE(4, stat_of(_metadata, self, SOCKBEAT_A_STATS_PROBES));
}

/* An answer that nobody asked for is the application's. */
TEST_F(offload, answer_without_a_probe)
{
	ASSERT_EQ(0, client_profile(&self->c, self->session, &with_probe));
	ASSERT_EQ(0, give_profile(&self->c, self->session, self->handle, 2));
	client_sends(_metadata, self, "\212\200mask", 6);
	ASSERT_TRUE(receives(self->pair.server, "\212\200mask", 6));
	ASSERT_EQ(0, stat_of(_metadata, self, SOCKBEAT_A_STATS_PROBES_ANSWERED));
}

/* The application has seen the answer: there is none to be expected any more. */
TEST_F(offload, answer_among_data)
{
	struct peer_conf conf = { KEEP, KEEP, KEEP, 0, GIVE(2), GIVE(300) };
	struct peer_conf no_more = { KEEP, KEEP, KEEP, 0, 0, GIVE(0) };

	ASSERT_EQ(0, client_profile(&self->c, self->session, &with_probe));
	ASSERT_EQ(0, client_set(&self->c, self->session, self->handle, &conf));
	ASSERT_TRUE(receives(self->pair.client, websocket_ping, 2));
	ASSERT_EQ(0, client_set(&self->c, self->session, self->handle, &no_more));
	client_sends(_metadata, self, "data\212\200mask", 10);
	ASSERT_TRUE(receives(self->pair.server, "data\212\200mask", 10));
	self->rx += 10;
	stand(_metadata, self);
	client_sends(_metadata, self, "\212\200mask", 6);
	ASSERT_TRUE(receives(self->pair.server, "\212\200mask", 6));
	ASSERT_EQ(0, stat_of(_metadata, self, SOCKBEAT_A_STATS_PROBES_ANSWERED));
}

/* However many probes went unanswered, one answer is expected, and that of the
 * profile that probed.
 */
TEST_F(offload, one_answer_is_expected)
{
	struct peer_conf conf = { KEEP, KEEP, KEEP, 0, GIVE(2), GIVE(200) };
	struct peer_conf no_more = { KEEP, KEEP, KEEP, 0, 0, GIVE(0) };
	struct profile other = with_probe;

	other.id = 3;
	ASSERT_EQ(0, client_profile(&self->c, self->session, &with_probe));
	ASSERT_EQ(0, client_profile(&self->c, self->session, &other));
	ASSERT_EQ(0, client_set(&self->c, self->session, self->handle, &conf));
	for (int i = 0; i < 3; i++)
		ASSERT_TRUE(receives(self->pair.client, websocket_ping, 2));
	ASSERT_EQ(0, client_set(&self->c, self->session, self->handle, &no_more));
	client_sends(_metadata, self, "\212\200mask", 6);
	ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_PROBES_ANSWERED, 1));
	client_sends(_metadata, self, "\212\200mask", 6);
	ASSERT_TRUE(receives(self->pair.server, "\212\200mask", 6));
	self->rx += 6;
	stand(_metadata, self);

	ASSERT_EQ(0, client_set(&self->c, self->session, self->handle, &conf));
	ASSERT_TRUE(receives(self->pair.client, websocket_ping, 2));
	ASSERT_EQ(0, client_set(&self->c, self->session, self->handle, &no_more));
	ASSERT_EQ(0, give_profile(&self->c, self->session, self->handle, other.id));
	client_sends(_metadata, self, "\212\200mask", 6);
	ASSERT_TRUE(receives(self->pair.server, "\212\200mask", 6));
	ASSERT_EQ(1, stat_of(_metadata, self, SOCKBEAT_A_STATS_PROBES_ANSWERED));
}

/* A probe may not get into the middle of a frame that the application sends. */
TEST_F(offload, probe_waits_for_a_boundary)
{
	ASSERT_EQ(0, client_profile(&self->c, self->session, &with_probe));
	self->tx += 10;
	stand(_metadata, self);
	ASSERT_EQ(4, send(self->pair.server, "half", 4, 0));
	ASSERT_EQ(0, give_profile(&self->c, self->session, self->handle, 2));
	ASSERT_EQ(0, give_probe(&self->c, self->session, self->handle, 100));
	for (uint64_t end = now_ms() + PATIENCE_MS; now_ms() < end; usleep(10000)) {
		if (stat_of(_metadata, self, SOCKBEAT_A_STATS_PROBES_SKIPPED) >= 3)
			break;
	}
	ASSERT_LE(3, stat_of(_metadata, self, SOCKBEAT_A_STATS_PROBES_SKIPPED));
	ASSERT_EQ(0, stat_of(_metadata, self, SOCKBEAT_A_STATS_PROBES));
	ASSERT_EQ(6, send(self->pair.server, "+whole", 6, 0));
	ASSERT_TRUE(receives(self->pair.client, "half+whole" "\211\0", 12));
}

/* Data that comes before the answer to a probe, or with it, must not make a
 * heartbeat of it: this peer would answer the answer, and so on.
 */
TEST_F(offload, echo_behind_data)
{
	ASSERT_EQ(0, client_profile(&self->c, self->session, &echo));
	ASSERT_EQ(0, give_profile(&self->c, self->session, self->handle, echo.id));
	for (int i = 1; i <= 2; i++) {
		ASSERT_EQ(0, give_probe(&self->c, self->session, self->handle, 300));
		ASSERT_TRUE(receives(self->pair.client, HEARTBEAT, HEARTBEAT_BYTES));
		ASSERT_EQ(0, give_probe(&self->c, self->session, self->handle, 0));
		client_sends(_metadata, self, "data", 4);
		ASSERT_TRUE(receives(self->pair.server, "data", 4));
		self->rx += 4;
		stand(_metadata, self);
		if (i == 2) {
			/* With it: the application answers, and is answered. */
			client_sends(_metadata, self, "more" HEARTBEAT, 4 + HEARTBEAT_BYTES);
			ASSERT_TRUE(receives(self->pair.server, "more" HEARTBEAT, 4 + HEARTBEAT_BYTES));
			ASSERT_EQ(HEARTBEAT_BYTES,
				  send(self->pair.server, HEARTBEAT, HEARTBEAT_BYTES, 0));
			ASSERT_TRUE(receives(self->pair.client, HEARTBEAT, HEARTBEAT_BYTES));
			self->rx += 4 + HEARTBEAT_BYTES;
			self->tx += HEARTBEAT_BYTES;
			stand(_metadata, self);
		}
		client_sends(_metadata, self, HEARTBEAT, HEARTBEAT_BYTES);
		ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_PROBES_ANSWERED, i));
		ASSERT_EQ(0, stat_of(_metadata, self, SOCKBEAT_A_STATS_ANSWERED));
		ASSERT_FALSE(is_readable(self->pair.client));
	}
	/* Its own are answered. */
	expect_answered(_metadata, self);
}

/* Send what the application has read, and answer it as @n heartbeats. */
static void app_answers(SELF, int n)
{
	char frames[4 * HEARTBEAT_BYTES];

	for (int i = 0; i < n; i++)
		memcpy(frames + i * HEARTBEAT_BYTES, HEARTBEAT, HEARTBEAT_BYTES);
	ASSERT_TRUE(receives(self->pair.server, frames, n * HEARTBEAT_BYTES));
	ASSERT_EQ(n * HEARTBEAT_BYTES, send(self->pair.server, frames, n * HEARTBEAT_BYTES, 0));
	self->rx += n * HEARTBEAT_BYTES;
	self->tx += n * HEARTBEAT_BYTES;
	stand(_metadata, self);
	ASSERT_TRUE(receives(self->pair.client, frames, n * HEARTBEAT_BYTES));
}

/* While the application is at a long job, or hangs, the answers to probes lie
 * with it.  The peer is asked again all the same, and found alive, and of as many
 * answers to the application's answers as there were probes none is answered.
 */
TEST_F(offload, echoes_of_a_busy_application)
{
	struct peer_conf conf = { 3000, KEEP, KEEP, 0, GIVE(2), GIVE(1000) };
	int n;

	ASSERT_EQ(0, client_profile(&self->c, self->session, &echo));
	client_sends(_metadata, self, "data", 4);
	ASSERT_TRUE(receives(self->pair.server, "data", 4));
	ASSERT_EQ(0, client_set(&self->c, self->session, self->handle, &conf));
	for (n = 1; n <= 4; n++) {
		ASSERT_TRUE(receives(self->pair.client, HEARTBEAT, HEARTBEAT_BYTES)) {
			TH_LOG("probe %d", n);
		}
		if (n == 4)
			ASSERT_EQ(0, give_probe(&self->c, self->session, self->handle, 0));
		client_sends(_metadata, self, HEARTBEAT, HEARTBEAT_BYTES);
	}
	ASSERT_EQ(0, stat_of(_metadata, self, SOCKBEAT_A_STATS_SILENCES));
	self->rx += 4;
	app_answers(_metadata, self, 4);

	/* At once, and one by one. */
	client_sends(_metadata, self, HEARTBEAT HEARTBEAT, 2 * HEARTBEAT_BYTES);
	ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_PROBES_ANSWERED, 2));
	client_sends(_metadata, self, HEARTBEAT, HEARTBEAT_BYTES);
	ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_PROBES_ANSWERED, 3));
	client_sends(_metadata, self, HEARTBEAT, HEARTBEAT_BYTES);
	ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_PROBES_ANSWERED, 4));
	ASSERT_FALSE(is_readable(self->pair.client));
	expect_answered(_metadata, self);
}

/* Nor is it when another profile has come meanwhile, or the same once more. */
TEST_F(offload, echo_of_another_profile)
{
	struct profile other = echo;

	other.id = 3;
	ASSERT_EQ(0, client_profile(&self->c, self->session, &echo));
	ASSERT_EQ(0, client_profile(&self->c, self->session, &other));
	for (int i = 1; i <= 2; i++) {
		ASSERT_EQ(0, give_profile(&self->c, self->session, self->handle, echo.id));
		ASSERT_EQ(0, give_probe(&self->c, self->session, self->handle, 200));
		ASSERT_TRUE(receives(self->pair.client, HEARTBEAT, HEARTBEAT_BYTES));
		if (i == 1) {
			ASSERT_EQ(0, give_profile(&self->c, self->session, self->handle, other.id));
			ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_PROBES_SKIPPED, 2));
		}
		ASSERT_EQ(0, give_probe(&self->c, self->session, self->handle, 0));
		if (i == 2) {
			ASSERT_EQ(0, client_profile_del(&self->c, self->session, echo.id));
			client_sends(_metadata, self, "data", 4);
			ASSERT_TRUE(receives(self->pair.server, "data", 4));
			self->rx += 4;
			stand(_metadata, self);
			ASSERT_EQ(0, client_profile(&self->c, self->session, &echo));
		}
		client_sends(_metadata, self, HEARTBEAT, HEARTBEAT_BYTES);
		ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_PROBES_ANSWERED, i));
		ASSERT_EQ(0, stat_of(_metadata, self, SOCKBEAT_A_STATS_ANSWERED));
		ASSERT_FALSE(is_readable(self->pair.client));
	}
	expect_answered(_metadata, self);
}

/* Of two answers one would be a heartbeat. */
TEST_F(offload, one_echo_at_a_time)
{
	ASSERT_EQ(0, client_profile(&self->c, self->session, &echo));
	ASSERT_EQ(0, give_profile(&self->c, self->session, self->handle, echo.id));
	ASSERT_EQ(0, give_probe(&self->c, self->session, self->handle, 200));
	ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_PROBES_SKIPPED, 3));
	ASSERT_TRUE(receives(self->pair.client, HEARTBEAT, HEARTBEAT_BYTES));
	ASSERT_FALSE(is_readable(self->pair.client));
	ASSERT_EQ(1, stat_of(_metadata, self, SOCKBEAT_A_STATS_PROBES));
	client_sends(_metadata, self, HEARTBEAT, HEARTBEAT_BYTES);
	ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_PROBES_ANSWERED, 1));
	/* And the next when this one was answered. */
	ASSERT_TRUE(receives(self->pair.client, HEARTBEAT, HEARTBEAT_BYTES));
	ASSERT_EQ(0, stat_of(_metadata, self, SOCKBEAT_A_STATS_ANSWERED));
}

/* What an application that forgot to say where it stands is told by. */
TEST_F(offload, behind)
{
	struct attrs peer;

	client_sends(_metadata, self, "data", 4);
	ASSERT_TRUE(receives(self->pair.server, "data", 4));
	ASSERT_EQ(6, send(self->pair.server, "answer", 6, 0));
	ASSERT_EQ(0, client_get(&self->c, self->session, self->handle, &peer));
	EXPECT_EQ(4, peer.v[SOCKBEAT_A_PEER_RX_BEHIND]);
	EXPECT_EQ(6, peer.v[SOCKBEAT_A_PEER_TX_BEHIND]);
	stand_at(self->slots, self->handle, 4, 8);
	ASSERT_EQ(0, client_get(&self->c, self->session, self->handle, &peer));
	EXPECT_EQ(0, peer.v[SOCKBEAT_A_PEER_RX_BEHIND]);
	EXPECT_EQ(-2, (int32_t)peer.v[SOCKBEAT_A_PEER_TX_BEHIND]);
}

static atomic_int beats;

/* Fewer than the kernel answers in a row. */
static void *beat_on(void *arg)
{
	int fd = *(int *)arg;

	for (int i = 0; i < 900; i++) {
		if (send(fd, HEARTBEAT, HEARTBEAT_BYTES, 0) != HEARTBEAT_BYTES ||
		    !receives(fd, HEARTBEAT, HEARTBEAT_BYTES))
			break;
		beats++;
	}
	return NULL;
}

/* Nor does it accuse one that did not, while the kernel answers. */
TEST_F(offload, not_behind_while_answered)
{
	struct attrs peer;
	pthread_t thread;
	int looks;

	ASSERT_EQ(0, pthread_create(&thread, NULL, beat_on, &self->pair.client));
	for (looks = 0; pthread_tryjoin_np(thread, NULL); looks++) {
		ASSERT_EQ(0, client_get(&self->c, self->session, self->handle, &peer));
		ASSERT_EQ(0, (int32_t)peer.v[SOCKBEAT_A_PEER_RX_BEHIND]) TH_LOG("look %d", looks);
		ASSERT_EQ(0, (int32_t)peer.v[SOCKBEAT_A_PEER_TX_BEHIND]) TH_LOG("look %d", looks);
	}
	ASSERT_EQ(900, beats);
	ASSERT_LE(100, looks);
}

TEST_HARNESS_MAIN
