// SPDX-License-Identifier: GPL-2.0-only
/*
 * The sessions of one user take turns: however much there is to do for them, half
 * of the processors are for others.
 */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <stddef.h>
#include <sys/resource.h>
#include "client.h"
#include "harness.h"
#include "param.h"
#include "tcp.h"

#define MAX_SESSIONS	100
#define SESSIONS	(is_slow() ? 25 : MAX_SESSIONS)
#define PEERS		256	/* of each */
#define SOCKETS		(SESSIONS * PEERS)
#define BATCH		256	/* of a request */
#define RENOTIFY_MS	100
#define WINDOW_MS	2000
#define PATIENCE_MS	20000
#define USER		12345	/* has nothing else */

FIXTURE(turns) {
	struct client c;	/* takes all news, and drops it */
	int session[MAX_SESSIONS];
	int peers[MAX_SESSIONS];
	int *sockets;		/* both ends of SOCKETS / 2 connections */
};

/* Its peers fall silent and are told of again and again. */
static void open_session(struct __test_metadata *_metadata, FIXTURE_DATA(turns) *self, int i,
			 int first_socket, int peers)
{
	uint64_t handles[BATCH];
	int n;

	self->peers[i] = peers;
	self->session[i] = client_session_new(&self->c, peers, 100, RENOTIFY_MS,
					      SOCKBEAT_TRIGGER_LEVEL, NULL);
	ASSERT_LE(0, self->session[i]) TH_LOG("%s", self->c.why);
	for (int done = 0; done < peers; done += n) {
		n = peers - done < BATCH ? peers - done : BATCH;
		ASSERT_EQ(0, client_add(&self->c, self->session[i],
					self->sockets + first_socket + done, n, NULL, handles))
			TH_LOG("%s", self->c.why);
	}
}

FIXTURE_SETUP(turns)
{
	/* Only answers have a sequence number. */
	struct sock_filter drop_news[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_seq)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	struct sock_fprog filter = { 4, drop_news };
	struct rlimit files = { SOCKETS + SESSIONS + 100, SOCKETS + SESSIONS + 100 };

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	for (int i = 0; i < SESSIONS; i++)
		self->session[i] = -1;
	self->sockets = calloc(SOCKETS, sizeof(*self->sockets));
	ASSERT_NE(NULL, self->sockets);
	ASSERT_EQ(0, tcp_pairs(AF_INET, (struct pair *)self->sockets, SOCKETS / 2));
	ASSERT_EQ(0, setuid(USER));
	ASSERT_EQ(0, client_open(&self->c));
	ASSERT_EQ(0, setsockopt(client_fd(&self->c), SOL_SOCKET, SO_ATTACH_FILTER, &filter,
				sizeof(filter)));
}

FIXTURE_TEARDOWN(turns)
{
	for (int i = 0; i < SESSIONS; i++)
		close(self->session[i]);
	for (int i = 0; i < SOCKETS; i++)
		close(self->sockets[i]);
	free(self->sockets);
	client_close(&self->c);
}

#define STAT(i, name) client_stat(&self->c, self->session[i], SOCKBEAT_A_STATS_##name)

/* The first @n sessions are told of again. */
static void all_go_on(struct __test_metadata *_metadata, FIXTURE_DATA(turns) *self, int n)
{
	uint64_t events[MAX_SESSIONS], until_ms;

	for (int i = 0; i < n; i++)
		events[i] = STAT(i, EVENTS);
	until_ms = now_ms() + PATIENCE_MS;
	for (int i = 0; i < n; i++) {
		while (STAT(i, EVENTS) < events[i] + self->peers[i])
			ASSERT_GT(until_ms, now_ms()) TH_LOG("session %d has no turn", i);
	}
}

static int turns(void)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	return processors > 1 ? processors / 2 : 1;
}

/* What they take is the time that their threads run, or wait for a processor. */
TEST_F_TIMEOUT(turns, half_of_the_processors, 900)
{
	uint64_t begin_ms, may_ns, took_ns = 0;

	for (int i = 0; i < SESSIONS; i++)
		open_session(_metadata, self, i, i * PEERS, PEERS);
	all_go_on(_metadata, self, SESSIONS);
	begin_ms = now_ms();
	for (int i = 0; i < SESSIONS; i++)
		took_ns -= STAT(i, TICK_NS);
	usleep(WINDOW_MS * 1000);
	for (int i = 0; i < SESSIONS; i++)
		took_ns += STAT(i, TICK_NS);
	may_ns = (now_ms() - begin_ms) * 1000000 * turns();
	EXPECT_GE(may_ns, took_ns);
	all_go_on(_metadata, self, SESSIONS);
}

#define WAITING		16
#define MAX_LONG	4	/* who have all turns of up to 9 processors */
#define ROUNDS		(is_slow() ? 10 : 40)

static void sleep_until_us(uint64_t us)
{
	struct timespec until = { us / 1000000, us % 1000000 * 1000 };

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

/* Who has the turns has them for long; those that want one meanwhile are closed.
 * Who is kept goes on, and where none is their user is forgotten.  The kernel's log
 * would tell of more.
 */
TEST_F_TIMEOUT(turns, closed_while_they_wait, 900)
{
	int n = turns() < MAX_LONG ? turns() : MAX_LONG;
	long tick_ms = param_read("tick_ms");
	struct pair pairs[WAITING];
	uint64_t handle;
	int waiting[WAITING];

	for (int round = 0; round < ROUNDS; round++) {
		bool is_kept = round % 2;	/* from the round before */

		for (int i = 0; i < n && !is_kept; i++)
			open_session(_metadata, self, i, i * SOCKETS / MAX_LONG,
				     SOCKETS / MAX_LONG);
		ASSERT_EQ(0, tcp_pairs(AF_INET, pairs, WAITING));
		for (int i = 0; i < WAITING; i++) {
			waiting[i] = client_session_new(&self->c, 1, 60000, 0, 0, NULL);
			ASSERT_LE(0, waiting[i]);
			ASSERT_EQ(0, client_add1(&self->c, waiting[i], pairs[i].server, NULL,
						 &handle));
		}
		all_go_on(_metadata, self, n);
		sleep_until_us((now_ms() / tick_ms + 1) * tick_ms * 1000 + 500 + 100 * round);
		/* That there is something to tell of. */
		for (int i = 0; i < WAITING; i++)
			tcp_abort(pairs[i].server);
		for (int i = 0; i < WAITING; i++)
			close(waiting[i]);
		for (int i = 0; i < WAITING; i++)
			close(pairs[i].client);
		if (!is_kept) {
			all_go_on(_metadata, self, n);
			continue;
		}
		for (int i = 0; i < n; i++) {
			close(self->session[i]);
			self->session[i] = -1;
		}
	}
}

TEST_HARNESS_MAIN
