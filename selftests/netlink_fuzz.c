// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random requests, well-formed, nearly so and not at all, from several threads
 * at once, with descriptors of every kind, while others close those, send,
 * receive, and write noise to the slot pages.  What is well-formed the kernel
 * says itself, by the policies that were generated from uapi/sockbeat.yaml.
 *
 * Nothing is asserted of a single answer.  At the end the sessions' books have
 * to balance and the module has to do its work as ever; that the kernel had
 * nothing to complain of, and lost no memory, the runner sees to.
 *
 *   SOCKBEAT_TEST_MESSAGES	how many (default 100,000; 20,000 where slow)
 *   SOCKBEAT_TEST_SEED		to begin with (default: from the clock)
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include "client.h"
#include "netlink_policy.h"
#include "tcp.h"
#include "harness.h"

#define THREADS		4
#define SESSIONS	5
#define FDS		96
#define BATCH		16
#define SLOTS		32

static atomic_int sessions[SESSIONS], fds[FDS];
static atomic_bool stop;
static atomic_long left, sent, answers[CMDS][2];
static struct policies policies;

/* What was said to those that were refused. */
static struct reason {
	int err;
	char why[100];
	long n;
} reasons[100];
static pthread_mutex_t reasons_lock = PTHREAD_MUTEX_INITIALIZER;

/* Handles given out, by session and slot. */
static atomic_ullong handles[SESSIONS][SLOTS];

/* The request that a thread is making up, and those that it is to be answered. */
static __thread int session_now;
static __thread struct {
	uint8_t cmd;
	uint8_t session;
} asked[256];

/* Sockets in each state, and what is no socket at all. */

static void new_socket(struct rnd *rnd, atomic_int *slot, atomic_int *other)
{
	struct sockaddr_in nowhere = { .sin_family = AF_INET, .sin_port = htons(9) };
	struct pair pair;
	uint16_t port;
	int fd;

	switch (rnd_below(rnd, 12)) {
	case 0:
		fd_replace(slot, tcp_listen(AF_INET, "127.0.0.1", &port));
		break;
	case 1:	/* connecting */
		fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		inet_pton(AF_INET, "192.0.2.1", &nowhere.sin_addr);
		connect(fd, (void *)&nowhere, sizeof(nowhere));
		fd_replace(slot, fd);
		break;
	case 2:
		fd_replace(slot, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
		break;
	case 3:
		fd_replace(slot, socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
		break;
	default:	/* with a slot for each end */
		if (tcp_pairs(rnd_below(rnd, 2) ? AF_INET : AF_INET6, &pair, 1))
			break;
		fcntl(pair.server, F_SETFL, O_NONBLOCK);
		fcntl(pair.client, F_SETFL, O_NONBLOCK);
		fd_replace(slot, pair.server);
		fd_replace(other, pair.client);
	}
}

static void new_file(struct rnd *rnd, atomic_int *slot)
{
	int two[2] = { -1, -1 };

	switch (rnd_below(rnd, 6)) {
	case 0:
		if (!pipe2(two, O_CLOEXEC))
			close(two[1]);
		fd_replace(slot, two[0]);
		break;
	case 1:
		if (!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, two))
			close(two[1]);
		fd_replace(slot, two[0]);
		break;
	case 2:
		fd_replace(slot, eventfd(0, EFD_CLOEXEC));
		break;
	case 3:
		fd_replace(slot, epoll_create1(EPOLL_CLOEXEC));
		break;
	case 4:
		fd_replace(slot, open("/dev/null", O_RDWR | O_CLOEXEC));
		break;
	default:
		fd_replace(slot, fcntl(sessions[rnd_below(rnd, SESSIONS)], F_DUPFD_CLOEXEC, 3));
	}
}

static void use_socket(struct rnd *rnd, int fd)
{
	struct linger linger = { .l_onoff = 1 };
	char bytes[64] = {};

	switch (rnd_below(rnd, 1000)) {
	case 0 ... 4:
		shutdown(fd, rnd_below(rnd, 3));
		break;
	case 5 ... 99:
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		break;
	case 100 ... 399:
		recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		break;
	case 400 ... 449:
		send(fd, bytes, 1, MSG_DONTWAIT | MSG_NOSIGNAL | MSG_OOB);
		break;
	default:
		send(fd, bytes, rnd_below(rnd, sizeof(bytes)), MSG_DONTWAIT | MSG_NOSIGNAL);
	}
}

/* Descriptors come, go and are used while requests name them. */
static void *churn(void *arg)
{
	struct rnd rnd = { (uintptr_t)arg };

	while (!atomic_load(&stop)) {
		atomic_int *slot = &fds[rnd_below(&rnd, FDS)];

		switch (rnd_below(&rnd, 1000)) {
		case 0 ... 19:
			new_socket(&rnd, slot, &fds[rnd_below(&rnd, FDS)]);
			break;
		case 20 ... 21:
			new_file(&rnd, slot);
			break;
		default:
			use_socket(&rnd, atomic_load(slot));
		}
		sched_yield();
	}
	return NULL;
}

/* What a process may write to its slot page is anything. */
static void *scribble(void *arg)
{
	struct rnd rnd = { (uintptr_t)arg };
	struct sockbeat_slot *slots;
	uint64_t *words;
	int i;

	while (!atomic_load(&stop)) {
		slots = mmap(NULL, SLOTS * sizeof(*slots), PROT_READ | PROT_WRITE, MAP_SHARED,
			     atomic_load(&sessions[rnd_below(&rnd, SESSIONS)]), 0);
		if (slots == MAP_FAILED) {
			sched_yield();
			continue;
		}
		words = (uint64_t *)slots;
		for (i = 0; i < 200; i++)
			((volatile uint64_t *)words)[rnd_below(&rnd, SLOTS * sizeof(*slots) / 8)] =
				rnd_below(&rnd, 2) ? rnd_next(&rnd) : now_ms() + rnd_below(&rnd, 9) - 4;
		munmap(slots, SLOTS * sizeof(*slots));
	}
	return NULL;
}

/* Values that mean something. */
static bool meaning(struct rnd *rnd, enum place place, uint16_t type, uint64_t *value)
{
	if (place == PLACE_SESSION && type == SOCKBEAT_A_SESSION_FD)
		*value = atomic_load(&sessions[session_now]);
	else if (place == PLACE_SESSION && type == SOCKBEAT_A_SESSION_ID)
		*value = 1 + rnd_below(rnd, 2 * SESSIONS);
	else if (place == PLACE_SESSION && type == SOCKBEAT_A_SESSION_CAPACITY)
		*value = 1 + rnd_below(rnd, SLOTS);
	else if (place == PLACE_PEER && type == SOCKBEAT_A_PEER_FD)
		*value = atomic_load(&fds[rnd_below(rnd, FDS)]);
	else if (place == PLACE_PEER && type == SOCKBEAT_A_PEER_HANDLE)
		*value = atomic_load(&handles[session_now][rnd_below(rnd, SLOTS)]);
	else if ((place == PLACE_PEER && type == SOCKBEAT_A_PEER_PROFILE) ||
		 (place == PLACE_PROFILE && type == SOCKBEAT_A_PROFILE_ID))
		*value = 1 + rnd_below(rnd, 3);
	else
		return false;
	return true;
}

/* One new session in fifty takes the place of another. */
static void take_session(struct rnd *rnd, int fd)
{
	if (rnd_below(rnd, 50))
		close(fd);
	else
		fd_replace(&sessions[rnd_below(rnd, SESSIONS)], fd);
}

static void take_handles(const struct nlmsghdr *nlh, int session)
{
	struct nlattr *attr, *peer;

	mnl_attr_for_each(attr, nlh, sizeof(struct genlmsghdr)) {
		if (mnl_attr_get_type(attr) != SOCKBEAT_A_SESSION_PEER)
			continue;
		mnl_attr_for_each_nested(peer, attr) {
			if (mnl_attr_get_type(peer) == SOCKBEAT_A_PEER_HANDLE)
				atomic_store(&handles[session][mnl_attr_get_u64(peer) % SLOTS],
					     mnl_attr_get_u64(peer));
		}
	}
}

static void count_reason(struct client *c, const struct nlmsghdr *nlh, int err)
{
	struct reason *r = reasons;

	c->why[0] = '\0';
	client_error(c, nlh);
	pthread_mutex_lock(&reasons_lock);
	while (r < reasons + 99 && r->n && (r->err != err || strncmp(r->why, c->why, sizeof(r->why) - 1)))
		r++;
	r->err = err;
	snprintf(r->why, sizeof(r->why), "%.99s", c->why);
	r->n++;
	pthread_mutex_unlock(&reasons_lock);
}

static void answered(struct rnd *rnd, struct client *c, const struct nlmsghdr *nlh)
{
	const struct genlmsghdr *genl = mnl_nlmsg_get_payload(nlh);
	const struct nlmsgerr *err = mnl_nlmsg_get_payload(nlh);
	unsigned int request = nlh->nlmsg_seq % 256;
	struct nlattr *attr;

	if (nlh->nlmsg_type == NLMSG_ERROR) {
		answers[asked[request].cmd][!err->error]++;
		if (err->error)
			count_reason(c, nlh, -err->error);
	} else if (nlh->nlmsg_type < NLMSG_MIN_TYPE) {
		return;
	} else if (genl->cmd == SOCKBEAT_CMD_SESSION_NEW) {
		mnl_attr_for_each(attr, nlh, sizeof(*genl)) {
			if (mnl_attr_get_type(attr) == SOCKBEAT_A_SESSION_FD)
				take_session(rnd, mnl_attr_get_u32(attr));
		}
	} else if (genl->cmd == SOCKBEAT_CMD_PEER_ADD) {
		take_handles(nlh, asked[request].session);
	}
}

static void take_answers(struct rnd *rnd, struct client *c)
{
	struct nlmsghdr *nlh;
	int len;

	while ((len = recv(client_fd(c), c->rx, CLIENT_BUF, MSG_DONTWAIT)) > 0) {
		for (nlh = (void *)c->rx; mnl_nlmsg_ok(nlh, len); nlh = mnl_nlmsg_next(nlh, &len))
			answered(rnd, c, nlh);
	}
}

static void *fuzz(void *arg)
{
	struct rnd rnd = { (uintptr_t)arg };
	struct client c;

	/* One of them lives elsewhere. */
	if (rnd.state % THREADS == 0 && netns_new() < 0)
		return "no network namespace";
	if (client_open(&c))
		return "no netlink socket";
	while (atomic_fetch_sub(&left, BATCH) > 0) {
		size_t len = 0;
		int i;

		for (i = 0; i < BATCH; i++) {
			struct nlmsghdr *nlh = (void *)(c.tx + len);

			session_now = rnd_below(&rnd, SESSIONS);
			len += fuzz_message(&policies, &rnd, nlh, c.family, ++c.seq, meaning);
			asked[c.seq % 256].cmd = fuzz_cmd(nlh);
			asked[c.seq % 256].session = session_now;
		}
		if (send(client_fd(&c), c.tx, len, 0) > 0)
			sent += BATCH;
		take_answers(&rnd, &c);
	}
	client_close(&c);
	return NULL;
}

static long wanted(void)
{
	const char *text = getenv("SOCKBEAT_TEST_MESSAGES");

	return text ? atol(text) : is_slow() ? 20000 : 100000;
}

/* Each peer that was added is somewhere. */
static void check_books(struct __test_metadata *_metadata, struct client *c, int session)
{
	struct session_reply r;
	uint64_t *s = r.stats.v;

	if (client_session_get(c, session, &r))
		return;
	EXPECT_EQ(s[SOCKBEAT_A_STATS_ADDED],
		  s[SOCKBEAT_A_STATS_LIVE] + s[SOCKBEAT_A_STATS_SILENT] + s[SOCKBEAT_A_STATS_GONE] +
		  s[SOCKBEAT_A_STATS_RECYCLING] + s[SOCKBEAT_A_STATS_DELETED] +
		  s[SOCKBEAT_A_STATS_RECYCLED]);
}

static void check_work(struct __test_metadata *_metadata, struct client *c)
{
	uint64_t handle;
	struct event ev;
	struct pair pair;
	int session = client_session_new(c, 1, 300, 0, SOCKBEAT_TRIGGER_EDGE, NULL);

	ASSERT_LE(0, session);
	ASSERT_EQ(0, tcp_pair(&pair));
	ASSERT_EQ(0, client_add1(c, session, pair.server, NULL, &handle));
	ASSERT_TRUE(client_event(c, &ev, 20000));
	EXPECT_EQ(SOCKBEAT_EVENT_KIND_SILENT, ev.kind);
	EXPECT_EQ(handle, ev.handle);
	close(session);
	tcp_pair_close(&pair);
}

FIXTURE(fuzz) {
};

FIXTURE_SETUP(fuzz)
{
}

FIXTURE_TEARDOWN(fuzz)
{
}

TEST_F_TIMEOUT(fuzz, netlink, 36000)
{
	pthread_t threads[THREADS + 3];
	long seed, accepted = 0;
	struct client c;
	void *why;
	int i;

	seed = getenv("SOCKBEAT_TEST_SEED") ? atol(getenv("SOCKBEAT_TEST_SEED")) : time(NULL);
	left = wanted();
	TH_LOG("SOCKBEAT_TEST_SEED=%ld SOCKBEAT_TEST_MESSAGES=%ld", seed, wanted());
	ASSERT_EQ(0, client_open(&c));
	ASSERT_EQ(0, policies_read(&policies, &c));
	for (i = 0; i < SESSIONS; i++)
		sessions[i] = client_session_new(&c, SLOTS, 200, 0, SOCKBEAT_TRIGGER_LEVEL, NULL);
	for (i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, fuzz, (void *)(seed * 8 + i)));
	for (; i < THREADS + 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, churn, (void *)(seed * 8 + i)));
	ASSERT_EQ(0, pthread_create(&threads[i], NULL, scribble, (void *)(seed * 8 + i)));
	for (i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &why);
		EXPECT_EQ(NULL, why) TH_LOG("%s", (char *)why);
	}
	atomic_store(&stop, true);
	for (; i < THREADS + 3; i++)
		pthread_join(threads[i], NULL);
	for (i = 1; i < CMDS; i++) {
		accepted += answers[i][1];
		if (policies.has_do[i])
			TH_LOG("command %d: %ld accepted, %ld refused", i, answers[i][1], answers[i][0]);
		/* Or there was no sense in what was sent. */
		if (policies.has_do[i])
			EXPECT_LT(0, answers[i][1]);
	}
	for (i = 0; i < 100 && reasons[i].n; i++)
		TH_LOG("%ld times %s: %s", reasons[i].n, strerror(reasons[i].err), reasons[i].why);
	TH_LOG("%ld messages, %ld of them accepted", sent, accepted);
	for (i = 0; i < SESSIONS; i++) {
		check_books(_metadata, &c, sessions[i]);
		fd_replace(&sessions[i], 0);
	}
	for (i = 0; i < FDS; i++)
		fd_replace(&fds[i], 0);
	client_close(&c);
	ASSERT_EQ(0, client_open(&c));
	check_work(_metadata, &c);
	client_close(&c);
}

TEST_HARNESS_MAIN
