// SPDX-License-Identifier: GPL-2.0-only
/*
 * All that can happen to a session and its sockets, at the same time: requests
 * from several threads, descriptors passed on and closed, processes killed in
 * the middle of it, namespaces that go, processors that come and go, attempts to
 * unload the module, and memory that runs out.
 *
 * One session stands aside: of its peers those that are heard have to stay live,
 * and those that are not are told of once.  For the rest the kernel must have
 * nothing to complain of.
 *
 *   SOCKBEAT_TEST_SECONDS	how long (default 10)
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "client.h"
#include "kmsg.h"
#include "random.h"
#include "tcp.h"
#include "harness.h"

#define PEERS	24
#define WORKERS	3
#define THREADS	2
#define CGROUP	"/sys/fs/cgroup/race"

/* What the threads of a worker share. */
struct arena {
	int session;
	atomic_int fds[PEERS][2];
	atomic_ullong handles[PEERS];
	int other;	/* a worker next door, to pass descriptors to */
};

static void new_pair(struct arena *a, unsigned int i, struct rnd *rnd)
{
	struct pair pair;

	if (tcp_pairs(rnd_below(rnd, 2) ? AF_INET : AF_INET6, &pair, 1))
		return;
	fd_replace(&a->fds[i][0], pair.server);
	fd_replace(&a->fds[i][1], pair.client);
}

static void any_request(struct arena *a, struct client *c, struct rnd *rnd)
{
	uint32_t short_ms = 100 + rnd_below(rnd, 300);
	struct peer_conf conf = { short_ms, rnd_below(rnd, 3), rnd_below(rnd, 2), 1 };
	unsigned int i = rnd_below(rnd, PEERS);
	uint64_t handle = atomic_load(&a->handles[i]);
	struct recycle_conf retire = { rnd_below(rnd, 50), rnd_below(rnd, 3), rnd_below(rnd, 2) };

	switch (rnd_below(rnd, 9)) {
	case 0 ... 2:
		if (!client_add1(c, a->session, atomic_load(&a->fds[i][rnd_below(rnd, 2)]), &conf, &handle))
			atomic_store(&a->handles[handle % PEERS], handle);
		break;
	case 3:
		client_del(c, a->session, handle);
		break;
	case 4:
		client_retire(c, a->session, SOCKBEAT_CMD_PEER_RECYCLE, &handle, 1, &retire);
		break;
	case 5:
		client_set(c, a->session, handle, &conf);
		client_setting(c, a->session, handle, SOCKBEAT_A_PEER_ACTION, rnd_below(rnd, 3));
		break;
	case 6:
		client_dump(c, a->session, 0, NULL, 0);
		break;
	case 7:
		client_session_bind(c, a->session);
		break;
	default:
		retire.delay_ms = KEEP;
		client_retire(c, a->session, SOCKBEAT_CMD_PEER_END, &handle, 1, &retire);
	}
}

static void any_use(struct arena *a, struct sockbeat_slot *slots, struct rnd *rnd)
{
	unsigned int i = rnd_below(rnd, PEERS);
	int fd = atomic_load(&a->fds[i][rnd_below(rnd, 2)]);
	char byte[64];

	switch (rnd_below(rnd, 8)) {
	case 0:
		new_pair(a, i, rnd);
		break;
	case 1:
		shutdown(fd, rnd_below(rnd, 3));
		break;
	case 2:
		recv(fd, byte, sizeof(byte), MSG_DONTWAIT);
		break;
	case 3:
		if (slots)
			((volatile struct sockbeat_slot *)slots)[i].beat_ms = now_ms();
		break;
	case 4:	/* a session that lives on next door, or on its way there */
		send_fd(a->other, rnd_below(rnd, 2) ? a->session : fd);
		break;
	default:
		send(fd, byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
}

static void *worker_thread(void *arg)
{
	struct arena *a = arg;
	struct rnd rnd = { now_ms() ^ (uintptr_t)&rnd };
	struct sockbeat_slot *slots = mmap(NULL, PEERS * sizeof(*slots), PROT_READ | PROT_WRITE,
					   MAP_SHARED, a->session, 0);
	struct client c;

	if (slots == MAP_FAILED)
		slots = NULL;
	while (!client_open(&c)) {
		int i, n = rnd_below(&rnd, 200);

		for (i = 0; i < n; i++) {
			any_request(a, &c, &rnd);
			any_use(a, slots, &rnd);
		}
		client_close(&c);
	}
	return NULL;
}

/* A worker ends by being killed only. */
static void worker(int in, int out, bool elsewhere)
{
	static struct arena a;
	pthread_t thread;
	struct client c;
	unsigned int i;
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fcntl(out, F_SETFL, O_NONBLOCK);
	if (elsewhere && netns_new() < 0)
		_exit(1);
	a.other = out;
	a.session = client_open(&c) ? -1 : client_session_new(&c, PEERS, 300, 200, SOCKBEAT_TRIGGER_LEVEL, NULL);
	if (a.session < 0)
		_exit(1);
	for (i = 0; i < THREADS; i++)
		pthread_create(&thread, NULL, worker_thread, &a);
	/* What comes from next door is kept for a while, whatever it is. */
	for (i = 0; (fd = recv_fd(in)) >= -1; i++)
		fd_replace(&a.fds[i % PEERS][1], fd);
	_exit(0);
}

static pid_t start_worker(int sv[2], bool elsewhere)
{
	pid_t pid = fork();

	if (!pid)
		worker(sv[0], sv[1], elsewhere);
	return pid;
}

/* Takes memory in a cgroup that has little, in all the ways that a session has. */
static void hungry(void)
{
	static struct pair pair;
	struct client c;
	uint64_t handle;
	char *slots;
	int session;
	size_t i, n = 1 << 20;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (sh("echo %d >" CGROUP "/cgroup.procs", getpid()) || client_open(&c))
		_exit(1);
	for (;;) {
		session = client_session_new(&c, n, 60000, 0, SOCKBEAT_TRIGGER_EDGE, NULL);
		slots = mmap(NULL, n * sizeof(struct sockbeat_slot), PROT_READ | PROT_WRITE, MAP_SHARED,
			     session, 0);
		if (session < 0 || slots == MAP_FAILED || tcp_pair(&pair))
			n = n > 4096 ? n / 2 : n;
		else
			client_add1(&c, session, pair.server, NULL, &handle);
		for (i = 0; slots != MAP_FAILED && i < n * sizeof(struct sockbeat_slot); i += 4096)
			slots[i] = 1;
	}
}

static int set_processor(int online)
{
	return sh("echo %d 2>/dev/null >/sys/devices/system/cpu/cpu1/online", online);
}

FIXTURE(race) {
	struct client c;
	struct client sink;
	int session;
	struct pair pair[PEERS];
	uint64_t handle[PEERS];
};

FIXTURE_SETUP(race)
{
	int i;

	ASSERT_EQ(0, kmsg_begin());
	ASSERT_EQ(0, client_open(&self->c));
	ASSERT_EQ(0, client_open(&self->sink));
	self->session = client_session_new(&self->sink, PEERS, 3600000, 0, SOCKBEAT_TRIGGER_EDGE, NULL);
	ASSERT_LE(0, self->session);
	ASSERT_EQ(0, tcp_pairs(AF_INET, self->pair, PEERS));
	for (i = 0; i < PEERS; i++)
		ASSERT_EQ(0, client_add1(&self->c, self->session, self->pair[i].server, NULL,
					 &self->handle[i]));
	ASSERT_EQ(0, sh("echo +memory >/sys/fs/cgroup/cgroup.subtree_control"));
	mkdir(CGROUP, 0755);
	ASSERT_EQ(0, sh("echo 16M >" CGROUP "/memory.max"));
}

FIXTURE_TEARDOWN(race)
{
	int i;

	set_processor(1);
	close(self->session);
	client_close(&self->c);
	client_close(&self->sink);
	for (i = 0; i < PEERS; i++)
		tcp_pair_close(&self->pair[i]);
	rmdir(CGROUP);
	EXPECT_EQ(0, kmsg_end());
}

/* All are heard, and a quarter of those aside falls silent, in each round. */
static void check_aside(struct __test_metadata *_metadata, FIXTURE_DATA(race) *self)
{
	struct peer_conf conf = { 1000, KEEP, KEEP, 0 };
	int i, told[PEERS] = {};
	struct event ev;
	char byte;

	for (i = 0; i < PEERS; i++)
		ASSERT_EQ(1, send(self->pair[i].client, "x", 1, 0));
	/* Softirqs may be late here. */
	for (i = 0; i < PEERS; i++)
		ASSERT_EQ(1, recv(self->pair[i].server, &byte, 1, 0));
	for (i = 0; i < PEERS / 4; i++)
		ASSERT_EQ(0, client_set(&self->c, self->session, self->handle[i], &conf));
	for (i = 0; i < PEERS / 4; i++) {
		ASSERT_TRUE(client_event(&self->sink, &ev, 60000)) TH_LOG("%d of %d told", i, PEERS / 4);
		ASSERT_EQ(SOCKBEAT_EVENT_KIND_SILENT, ev.kind);
		ASSERT_GT(PEERS / 4, ev.handle & 0xffff);
		EXPECT_EQ(1, ++told[ev.handle & 0xffff]);
	}
	conf.timeout_ms = 3600000;
	for (i = 0; i < PEERS / 4; i++) {
		ASSERT_EQ(0, client_set(&self->c, self->session, self->handle[i], &conf));
		ASSERT_TRUE(client_event(&self->sink, &ev, 60000));
		ASSERT_EQ(SOCKBEAT_EVENT_KIND_HEARD, ev.kind);
	}
}

TEST_F_TIMEOUT(race, everything_at_once, 36000)
{
	const char *text = getenv("SOCKBEAT_TEST_SECONDS");
	uint64_t until_ms = now_ms() + 1000ull * (text ? atol(text) : 10);
	int sv[2], i, status, rounds = 0, kills = 0, eaters = 0;
	struct rnd rnd = { now_ms() };
	pid_t workers[WORKERS], eater = 0;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv));
	for (i = 0; i < WORKERS; i++)
		workers[i] = start_worker(sv, i == 0);
	/* On a slow kernel a round may take all the time that was given. */
	for (; now_ms() < until_ms || !eaters; rounds++) {
		if (!eater) {
			eater = fork();
			if (!eater)
				hungry();
		}
		if (waitpid(eater, &status, WNOHANG) == eater) {
			eaters++;
			eater = 0;
		}
		i = rnd_below(&rnd, WORKERS);
		kill(workers[i], SIGKILL);
		ASSERT_EQ(workers[i], waitpid(workers[i], &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status)) TH_LOG("a worker ended by itself: %d", status);
		kills++;
		workers[i] = start_worker(sv, i == 0);
		set_processor(rounds & 1);
		EXPECT_EQ(-1, syscall(SYS_delete_module, "sockbeat", O_NONBLOCK));
		check_aside(_metadata, self);
		ASSERT_EQ(0, kmsg_take());
	}
	for (i = 0; i < WORKERS; i++) {
		kill(workers[i], SIGKILL);
		waitpid(workers[i], &status, 0);
	}
	if (eater) {
		kill(eater, SIGKILL);
		waitpid(eater, &status, 0);
	}
	close(sv[0]);
	close(sv[1]);
	TH_LOG("%d rounds, %d kills, %d times out of memory", rounds, kills, eaters);
	EXPECT_LT(0, eaters);
	for (i = PEERS / 4; i < PEERS; i++)
		EXPECT_EQ(SOCKBEAT_STATE_LIVE, client_state(&self->c, self->session, self->handle[i]));
	EXPECT_EQ(rounds * PEERS / 4, client_stat(&self->c, self->session, SOCKBEAT_A_STATS_SILENCES));
}

TEST_HARNESS_MAIN
