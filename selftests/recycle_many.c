// SPDX-License-Identifier: GPL-2.0-only
/*
 * Delayed recycle of many peers: what is told together, and how many slots a
 * stream of clients takes.
 */
#define _GNU_SOURCE
#include <sys/resource.h>
#include "recycle.h"

/* Quarantines that end together are told together, through any buffer. */
TEST_F_TIMEOUT(recycle, batches, 300)
{
	enum { N = 2000 };
	static struct pair pairs[N / 2];
	static uint64_t handles[N];
	static unsigned char told[N];
	struct rlimit files = { 3 * N, 3 * N };
	struct recycle_conf conf = { 1000, 0, false };
	int fds[N], i, n, got = 0, bytes = 2048;
	struct event ev[64];

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	close(self->session);
	self->session = client_session_new(&self->ev, N, 60000, 0, 0, NULL);
	ASSERT_LE(0, self->session);
	ASSERT_EQ(0, setsockopt(client_fd(&self->ev), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)));
	ASSERT_EQ(0, tcp_pairs(AF_INET, pairs, N / 2));
	for (i = 0; i < N; i++)
		fds[i] = i % 2 ? pairs[i / 2].server : pairs[i / 2].client;
	for (i = 0; i < N; i += 200)
		ASSERT_EQ(0, client_add(&self->c, self->session, fds + i, 200, NULL, handles + i));
	for (i = 0; i < N; i += 200)
		ASSERT_EQ(0, client_retire(&self->c, self->session, SOCKBEAT_CMD_PEER_RECYCLE,
					   handles + i, 200, &conf));
	while (got < N) {
		n = client_events(&self->ev, ev, 64, now_ms() + PATIENCE_MS);
		if (n == -ENOBUFS)
			continue;
		ASSERT_LT(0, n);
		for (i = 0; i < n; i++) {
			ASSERT_EQ(RECYCLED, ev[i].kind);
			ASSERT_EQ(0, told[(uint32_t)ev[i].handle]++);
		}
		got += n;
	}
	quiet(_metadata, self, 5 * TICK_MS);
	EXPECT_EQ(N, stat_of(_metadata, self, SOCKBEAT_A_STATS_RECYCLED));
	EXPECT_EQ(0, stat_of(_metadata, self, SOCKBEAT_A_STATS_RECYCLING));
	EXPECT_GE(N / 8, stat_of(_metadata, self, SOCKBEAT_A_STATS_MESSAGES));
	adds_up(_metadata, self);
	for (i = 0; i < N / 2; i++)
		tcp_pair_close(&pairs[i]);
}

/* Objects of the slab that peers come from. */
static long slab_objects(void)
{
	char text[64] = "";
	int fd = open("/sys/kernel/slab/sockbeat_peer/objects", O_RDONLY);

	if (fd >= 0 && read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	return atol(text);
}

/* A client comes, is served and retired. */
static int churn_one(struct client *c, int session, int listener, uint16_t port)
{
	struct recycle_conf conf = { 5000, SOCKBEAT_END_SHUTDOWN, false };
	struct pair pair;
	uint64_t handle;
	int err;

	pair.client = tcp_connect(AF_INET, "127.0.0.1", port);
	pair.server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	err = client_add1(c, session, pair.server, NULL, &handle);
	if (!err)
		err = client_retire(c, session, SOCKBEAT_CMD_PEER_RECYCLE, &handle, 1, &conf);
	/* With a reset, so that no port is used up. */
	tcp_abort(pair.client);
	close(pair.server);
	return err;
}

/* Two hundred clients a second for a minute, each slot in quarantine for five
 * seconds: as many slots are taken as come in five seconds, not more and not
 * less, and memory stays where it is.
 */
TEST_F_TIMEOUT(recycle, churn, 600)
{
	enum { RATE = 200, SECONDS = 60, DELAY = 5, SETTLED = 10, STEP_MS = 50,
	       BURST = RATE * STEP_MS / 1000 };
	uint64_t start, next, sum = 0, n = 0, done = 0, from_ms = 0, from = 0;
	long slab = 0, occupancy, expected;
	struct event ev[64];
	uint16_t port;
	int listener;

	close(self->session);
	self->session = client_session_new(&self->ev, 16 * RATE, 60000, 0, 0, NULL);
	ASSERT_LE(0, self->session);
	listener = tcp_listen(AF_INET, "127.0.0.1", &port);
	ASSERT_LE(0, listener);
	start = next = now_ms();
	/* A machine that cannot keep up has fewer clients, not more time. */
	while (next < start + SECONDS * 1000 && now_ms() < start + 3 * SECONDS * 1000) {
		for (int i = 0; i < BURST; i++, done++)
			ASSERT_EQ(0, churn_one(&self->c, self->session, listener, port)) {
				TH_LOG("%s", self->c.why);
			}
		next += STEP_MS;
		while (client_events(&self->ev, ev, 64, next) > 0)
			;
		if (next < start + SETTLED * 1000)
			continue;
		if (!n) {
			from_ms = now_ms();
			from = done;
			slab = slab_objects();
		}
		sum += stat_of(_metadata, self, SOCKBEAT_A_STATS_RECYCLING);
		n++;
	}
	ASSERT_LT(0, n);
	occupancy = sum / n;
	expected = (done - from) * 1000 * DELAY / (now_ms() - from_ms);
	TH_LOG("%llu clients a second, %ld of %ld slots taken on average, %ld objects of slab, then %ld",
	       (unsigned long long)((done - from) * 1000 / (now_ms() - from_ms)), occupancy,
	       expected, slab, slab_objects());
	EXPECT_LE(expected * 95, occupancy * 100);
	/* They come in bursts, and are counted right behind one. */
	EXPECT_GE(expected * 105 + BURST * 100, occupancy * 100);
	EXPECT_LT(0, slab);
	/* KASAN keeps what was freed. */
	if (sh("grep -q ' kasan_report$' /proc/kallsyms"))
		EXPECT_GE(slab * 105, slab_objects() * 100);
	adds_up(_metadata, self);
	close(listener);
}

TEST_HARNESS_MAIN
