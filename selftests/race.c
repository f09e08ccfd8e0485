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
 * And the module's end, with nobody aside: it comes as soon as the processes that
 * used it are killed, while what they left behind is still under way.
 *
 *   SOCKBEAT_TEST_SECONDS	how long (default 10; for the module's end 20 at most)
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
#include "offload.h"
#include "owner.h"
#include "random.h"
#include "tcp.h"
#include "harness.h"

#define PEERS	24
#define WORKERS	3
#define THREADS	2
#define BRIEF	4	/* peers of a brief session */
#define CGROUP	"/sys/fs/cgroup/race"
#define CPU1	"/sys/devices/system/cpu/cpu1/online"
#define LOADED	"/sys/module/sockbeat/initstate"	/* not where it is built in */
#define MODULE	"/lib/modules/sockbeat.ko"

/* What the threads of a worker share. */
struct arena {
	int session;
	atomic_int brief;	/* a session that the next one ends */
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

/* Another thread closes it, in the midst of this perhaps: what a request has left
 * to be done has no session then.
 */
static void brief_session(struct arena *a, struct rnd *rnd)
{
	struct recycle_conf retire = { rnd_below(rnd, 50), rnd_below(rnd, 3), false };
	struct peer_conf conf = { 100, KEEP, KEEP, 0, GIVE(native.id), 0 };
	int i, session = -1, fds[BRIEF], to = rnd_below(rnd, PEERS - BRIEF);
	struct sockbeat_slot *slots;
	struct pair pair[BRIEF];
	uint64_t handles[BRIEF] = {};
	struct client c;

	if (tcp_pairs(AF_INET, pair, BRIEF))
		return;
	for (i = 0; i < BRIEF; i++)
		fds[i] = pair[i].server;
	if (!client_open(&c))
		session = client_session_new(&c, BRIEF, 100, 0, SOCKBEAT_TRIGGER_EDGE, NULL);
	slots = slots_map(session, BRIEF);
	if (slots != MAP_FAILED) {
		client_profile(&c, session, &native);
		client_setting(&c, session, 0, SOCKBEAT_A_SESSION_ACTION, rnd_below(rnd, 3));
		client_add(&c, session, fds, BRIEF, &conf, handles);
		for (i = 0; i < BRIEF; i++) {
			stand_at(&slots[(uint32_t)handles[i] % BRIEF], handles[i], 0, 0);
			send(pair[i].client, HEARTBEAT, HEARTBEAT_BYTES, MSG_NOSIGNAL);
		}
		munmap(slots, BRIEF * sizeof(*slots));
	}
	fd_replace(&a->brief, session);
	client_retire(&c, session, SOCKBEAT_CMD_PEER_RECYCLE, handles, BRIEF, &retire);
	client_close(&c);
	for (i = 0; i < BRIEF; i++) {
		fd_replace(&a->fds[to + i][0], pair[i].server);
		fd_replace(&a->fds[to + i][1], pair[i].client);
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
			if (!rnd_below(&rnd, 20))
				brief_session(a, &rnd);
		}
		client_close(&c);
	}
	return NULL;
}

/* A worker ends by being killed only.  It says to @going when it is at work. */
static void worker(int in, int out, int going, bool elsewhere)
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
	if (going >= 0 && (write(going, "", 1) != 1 || close(going)))
		_exit(1);
	/* What comes from next door is kept for a while, whatever it is. */
	for (i = 0; (fd = recv_fd(in)) >= -1; i++)
		fd_replace(&a.fds[i % PEERS][1], fd);
	_exit(0);
}

static pid_t start_worker(int sv[2], int going, bool elsewhere)
{
	pid_t pid = fork();

	if (!pid)
		worker(sv[0], sv[1], going, elsewhere);
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

/* Where there is a second one that can go. */
static int set_processor(int online)
{
	return access(CPU1, F_OK) ? 0 : sh("echo %d >" CPU1, online);
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

	EXPECT_EQ(0, set_processor(1));
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
		workers[i] = start_worker(sv, -1, i == 0);
	/* On a slow kernel a round may take all the time that was given. */
	for (; now_ms() < until_ms || !eaters; rounds++) {
		if (!eater) {
			eater = fork();
			if (!eater)
				hungry();
		}
		if (waitpid(eater, &status, WNOHANG) == eater) {
			EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
				TH_LOG("it was not for want of memory: %d", status);
			}
			eaters++;
			eater = 0;
		}
		i = rnd_below(&rnd, WORKERS);
		kill(workers[i], SIGKILL);
		ASSERT_EQ(workers[i], waitpid(workers[i], &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status)) TH_LOG("a worker ended by itself: %d", status);
		kills++;
		workers[i] = start_worker(sv, -1, i == 0);
		EXPECT_EQ(0, set_processor(rounds & 1));
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

static int module_load(void)
{
	int fd = open(MODULE, O_RDONLY | O_CLOEXEC), err = 0;

	if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
		err = -errno;
	close(fd);
	return err;
}

/* As soon as nobody holds it. */
static int module_unload(void)
{
	uint64_t end_ms = now_ms() + PATIENCE_MS;
	int err;

	do {
		err = syscall(SYS_delete_module, "sockbeat", O_NONBLOCK) ? -errno : 0;
	} while ((err == -EAGAIN || err == -EBUSY) && now_ms() < end_ms);
	return err;
}

FIXTURE(unload) {
	struct pair pair;
	struct client c;
	int session;
	uint64_t handle;
	atomic_bool over;
};

FIXTURE_SETUP(unload)
{
	if (access(LOADED, F_OK))
		SKIP(return, "the module is built in, or not loaded");
	if (access(MODULE, R_OK))
		SKIP(return, "there is no " MODULE);
	ASSERT_EQ(0, kmsg_begin());
}

FIXTURE_TEARDOWN(unload)
{
	EXPECT_EQ(0, module_load());
	EXPECT_EQ(0, access(LOADED, F_OK));
	EXPECT_EQ(0, kmsg_end());
}

/* Descriptors that are on their way between the workers end with them, too. */
static void start_workers(struct __test_metadata *_metadata, pid_t *workers)
{
	int sv[2], going[2], i;
	char byte;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv));
	ASSERT_EQ(0, pipe(going));
	for (i = 0; i < WORKERS; i++)
		workers[i] = start_worker(sv, going[1], i == 0);
	close(sv[0]);
	close(sv[1]);
	close(going[1]);
	for (i = 0; i < WORKERS; i++)
		ASSERT_EQ(1, read(going[0], &byte, 1));
	close(going[0]);
}

TEST_F_TIMEOUT(unload, when_its_users_are_killed, 36000)
{
	const char *text = getenv("SOCKBEAT_TEST_SECONDS");
	uint64_t until_ms = now_ms() + 1000ull * (text && atol(text) < 20 ? atol(text) : 20);
	uint64_t killed_ms, longest_ms = 0;
	struct rnd rnd = { now_ms() };
	int i, status, rounds = 0, kills = 0;
	pid_t workers[WORKERS];

	do {
		start_workers(_metadata, workers);
		usleep(rnd_below(&rnd, 300000));
		killed_ms = now_ms();
		for (i = 0; i < WORKERS; i++)
			kill(workers[i], SIGKILL);
		ASSERT_EQ(0, module_unload());
		killed_ms = now_ms() - killed_ms;
		longest_ms = killed_ms > longest_ms ? killed_ms : longest_ms;
		for (i = 0; i < WORKERS; i++, kills++) {
			ASSERT_EQ(workers[i], waitpid(workers[i], &status, 0));
			EXPECT_TRUE(WIFSIGNALED(status)) {
				TH_LOG("a worker ended by itself: %d", status);
			}
		}
		ASSERT_EQ(0, module_load());
		ASSERT_EQ(0, kmsg_take());
		rounds++;
	} while (now_ms() < until_ms);
	TH_LOG("unloaded in %d rounds after %d kills, within %llu ms", rounds, kills,
	       (unsigned long long)longest_ms);
	EXPECT_LT(0, rounds);
}

static void *recycle_thread(void *arg)
{
	struct recycle_conf conf = { 0, SOCKBEAT_END_ABORT, false };
	FIXTURE_DATA(unload) *self = arg;

	client_retire(&self->c, self->session, SOCKBEAT_CMD_PEER_RECYCLE, &self->handle, 1, &conf);
	return NULL;
}

static void *unload_thread(void *arg)
{
	FIXTURE_DATA(unload) *self = arg;
	long err = module_unload();

	atomic_store(&self->over, true);
	return (void *)err;
}

/* The task has the socket to end yet, which another has, and no session any more. */
TEST_F(unload, waits_for_what_a_request_left)
{
	pthread_t recycling, unloading;
	struct owner owner;
	struct client c;
	void *err;

	ASSERT_EQ(0, client_open(&self->c));
	ASSERT_EQ(0, client_open(&c));
	self->session = client_session_new(&c, 4, 60000, 0, SOCKBEAT_TRIGGER_EDGE, NULL);
	ASSERT_LE(0, self->session);
	ASSERT_EQ(0, tcp_pair(&self->pair));
	ASSERT_EQ(0, client_add1(&c, self->session, self->pair.server, NULL, &self->handle));
	if (owner_start(&owner, self->pair.server))
		SKIP(return, "userfaultfd cannot be had");
	ASSERT_EQ(0, pthread_create(&recycling, NULL, recycle_thread, self));
	while (!client_stat(&c, self->session, SOCKBEAT_A_STATS_RECYCLES))
		usleep(1000);
	close(self->session);
	ASSERT_EQ(0, pthread_create(&unloading, NULL, unload_thread, self));
	sleep(1);
	EXPECT_FALSE(atomic_load(&self->over));
	owner_stop(&owner);
	pthread_join(recycling, NULL);
	pthread_join(unloading, &err);
	EXPECT_EQ(NULL, err);
	client_close(&self->c);
	client_close(&c);
	tcp_pair_close(&self->pair);
}

TEST_HARNESS_MAIN
