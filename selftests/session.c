// SPDX-License-Identifier: GPL-2.0-only
/*
 * The life of a session: creation, its fd, the port that its events go to,
 * and its end in each way that there is.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "client.h"
#include "param.h"
#include "tcp.h"
#include "harness.h"

FIXTURE(session) {
	struct client c;
};

FIXTURE_SETUP(session)
{
	ASSERT_EQ(0, client_open(&self->c));
}

FIXTURE_TEARDOWN(session)
{
	client_close(&self->c);
}

static int new_session(struct client *c, uint32_t capacity)
{
	return client_session_new(c, capacity, 0, 0, SOCKBEAT_TRIGGER_LEVEL, NULL);
}

static bool hung_up(int session, int wait_ms)
{
	struct pollfd pfd = { .fd = session };

	return poll(&pfd, 1, wait_ms) == 1 && pfd.revents & POLLHUP;
}

TEST_F(session, new_and_get)
{
	struct session_reply r;
	int fd;

	fd = client_session_new(&self->c, 1000, 2500, 700, SOCKBEAT_TRIGGER_EDGE, &r);
	ASSERT_LE(0, fd);
	EXPECT_NE(0, r.session.v[SOCKBEAT_A_SESSION_ID]);
	EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));

	ASSERT_EQ(0, client_session_get(&self->c, fd, &r));
	EXPECT_EQ(fd, r.session.v[SOCKBEAT_A_SESSION_FD]);
	EXPECT_EQ(1000, r.session.v[SOCKBEAT_A_SESSION_CAPACITY]);
	EXPECT_EQ(2500, r.session.v[SOCKBEAT_A_SESSION_TIMEOUT_MS]);
	EXPECT_EQ(700, r.session.v[SOCKBEAT_A_SESSION_RENOTIFY_MS]);
	EXPECT_EQ(SOCKBEAT_TRIGGER_EDGE, r.session.v[SOCKBEAT_A_SESSION_TRIGGER]);
	EXPECT_EQ(SOCKBEAT_SOURCE_ACTIVITY, r.session.v[SOCKBEAT_A_SESSION_SOURCE]);
	EXPECT_EQ(100, r.session.v[SOCKBEAT_A_SESSION_TICK_MS]);
	EXPECT_EQ(client_port(&self->c), r.session.v[SOCKBEAT_A_SESSION_PORT]);
	EXPECT_GT(1000, now_ms() - r.session.v[SOCKBEAT_A_SESSION_CLOCK_MS]);
	EXPECT_TRUE(r.stats.has[SOCKBEAT_A_STATS_ADDED]);
	close(fd);
}

TEST_F(session, set_changes_defaults_of_later_peers)
{
	uint64_t before, after;
	struct nlmsghdr *nlh;
	struct pair pair[2];
	struct attrs peer;
	int fd;

	fd = new_session(&self->c, 4);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, tcp_pairs(AF_INET, pair, 2));
	ASSERT_EQ(0, client_add1(&self->c, fd, pair[0].server, NULL, &before));
	nlh = client_cmd(&self->c, SOCKBEAT_CMD_SESSION_SET);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_FD, fd);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_TIMEOUT_MS, 4321);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_SOURCE, SOCKBEAT_SOURCE_BEAT);
	ASSERT_EQ(0, client_talk(&self->c, nlh, NULL, NULL));
	ASSERT_EQ(0, client_add1(&self->c, fd, pair[1].server, NULL, &after));
	ASSERT_EQ(0, client_get(&self->c, fd, before, &peer));
	EXPECT_EQ(60000, peer.v[SOCKBEAT_A_PEER_TIMEOUT_MS]);
	ASSERT_EQ(0, client_get(&self->c, fd, after, &peer));
	EXPECT_EQ(4321, peer.v[SOCKBEAT_A_PEER_TIMEOUT_MS]);
	EXPECT_EQ(SOCKBEAT_SOURCE_BEAT, peer.v[SOCKBEAT_A_PEER_SOURCE]);
	close(fd);
}

TEST_F(session, capacity_bounds)
{
	struct nlmsghdr *nlh = client_cmd(&self->c, SOCKBEAT_CMD_SESSION_NEW);

	EXPECT_EQ(-EINVAL, client_talk(&self->c, nlh, NULL, NULL));
	EXPECT_STREQ("session-new without capacity", self->c.why);
	EXPECT_EQ(-ERANGE, new_session(&self->c, 0));
	EXPECT_NE(0, self->c.bad_off);
	EXPECT_EQ(-ERANGE, new_session(&self->c, SOCKBEAT_MAX_CAPACITY + 1));
	EXPECT_EQ(-ERANGE, client_session_new(&self->c, 1, 99, 0, 0, NULL));
	EXPECT_EQ(-ERANGE, client_session_new(&self->c, 1, 0, 604800001, 0, NULL));
	EXPECT_EQ(-ERANGE, client_session_new(&self->c, 1, 0, 0, 2, NULL));
}

/* The last close ends everything; the sockets can be tracked anew. */
TEST_F(session, close_ends_its_peers)
{
	struct pair pairs[50];
	uint64_t handles[50];
	int fds[50], fd, i;

	ASSERT_EQ(0, tcp_pairs(AF_INET, pairs, 50));
	for (i = 0; i < 50; i++)
		fds[i] = pairs[i].server;
	fd = new_session(&self->c, 50);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, client_add(&self->c, fd, fds, 50, NULL, handles));
	close(fd);
	fd = new_session(&self->c, 50);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, client_add(&self->c, fd, fds, 50, NULL, handles));
	EXPECT_EQ(50, client_dump(&self->c, fd, 0, NULL, 0));
	close(fd);
	for (i = 0; i < 50; i++)
		tcp_pair_close(&pairs[i]);
}

TEST_F(session, rmmod_is_refused_while_a_session_lives)
{
	int fd = new_session(&self->c, 1);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, syscall(SYS_delete_module, "sockbeat", O_NONBLOCK));
	EXPECT_EQ(EWOULDBLOCK, errno);
	close(fd);
}

TEST_F(session, mmap)
{
	size_t page = sysconf(_SC_PAGESIZE);
	size_t per_page = page / sizeof(struct sockbeat_slot);
	struct sockbeat_slot *slots;
	int fd;

	/* One slot more than fills two pages: three pages and no more. */
	fd = new_session(&self->c, 2 * per_page + 1);
	ASSERT_LE(0, fd);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 3 * page));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
	EXPECT_EQ(EINVAL, errno);
	slots = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, slots);
	EXPECT_EQ(0, slots[2 * per_page].beat_ms);
	slots[2 * per_page].beat_ms = 5;
	slots[0].beat_ms = 6;

	/* The mapping outlives the fd and the session lives as long. */
	close(fd);
	EXPECT_EQ(5, slots[2 * per_page].beat_ms);
	EXPECT_EQ(6, slots[0].beat_ms);
	munmap(slots, 3 * page);
}

/* The process that made a session and added a peer hands both on and dies;
 * the deadline runs on from the time of peer-add.
 */
TEST_F(session, survives_its_maker_by_scm_rights)
{
	struct peer_conf conf = { 3000, KEEP, KEEP, 77 };
	uint64_t start, left;
	int sv[2], session, sock, status;
	struct session_reply r;
	struct event ev;
	struct pair pair;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv));
	ASSERT_EQ(0, tcp_pair(&pair));
	start = now_ms();
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct client c;
		uint64_t handle;
		int fd = -1;

		if (!client_open(&c))
			fd = new_session(&c, 1);
		if (fd < 0 || client_add1(&c, fd, pair.server, &conf, &handle) ||
		    send_fd(sv[1], fd) || send_fd(sv[1], pair.server))
			_exit(1);
		pause();
	}
	close(pair.server);
	session = recv_fd(sv[0]);
	sock = recv_fd(sv[0]);
	ASSERT_LE(0, session);
	ASSERT_LE(0, sock);
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSIGNALED(status));

	/* The maker's port went with it, and no other port is put there. */
	ASSERT_EQ(0, client_session_get(&self->c, session, &r));
	EXPECT_EQ(0, r.session.v[SOCKBEAT_A_SESSION_PORT]);
	EXPECT_EQ(1, r.stats.v[SOCKBEAT_A_STATS_LIVE]);
	ASSERT_EQ(0, client_session_bind(&self->c, session));
	ASSERT_TRUE(client_event(&self->c, &ev, 20000));
	left = now_ms() - start;
	EXPECT_EQ(SOCKBEAT_EVENT_KIND_SILENT, ev.kind);
	EXPECT_EQ(77, ev.user_data);
	EXPECT_LE(3000, left);
	EXPECT_GE(200, ev.late_ms);
	close(session);
	close(sock);
	close(pair.client);
}

/* While nobody is bound events wait on the ready list, and poll() says so. */
TEST_F(session, events_wait_for_a_port)
{
	struct peer_conf conf = { 200, KEEP, KEEP, 0 };
	struct pollfd pfd = { .events = POLLIN };
	struct client maker;
	struct event ev;
	struct pair pair;
	uint64_t handle;

	ASSERT_EQ(0, client_open(&maker));
	ASSERT_EQ(0, tcp_pair(&pair));
	pfd.fd = new_session(&maker, 1);
	ASSERT_LE(0, pfd.fd);
	client_close(&maker);
	ASSERT_EQ(0, client_add1(&self->c, pfd.fd, pair.server, &conf, &handle));
	EXPECT_EQ(1, poll(&pfd, 1, 10000));
	EXPECT_FALSE(client_event(&self->c, &ev, 0));
	ASSERT_EQ(0, client_session_bind(&self->c, pfd.fd));
	ASSERT_TRUE(client_event(&self->c, &ev, 10000));
	EXPECT_EQ(handle, ev.handle);
	EXPECT_EQ(0, poll(&pfd, 1, 0));
	close(pfd.fd);
	tcp_pair_close(&pair);
}

static void *close_it(void *arg)
{
	client_close(arg);
	return NULL;
}

/* The number of a port that is closing may be in use again before the module
 * is told of the close: that news must not unbind the new owner.
 */
TEST_F(session, port_number_that_is_reused_at_once)
{
	struct client old, new;
	struct session_reply r;
	int session, i, lost = 0;
	pthread_t thread;
	uint32_t port;

	session = new_session(&self->c, 1);
	ASSERT_LE(0, session);
	for (i = 0; i < 300; i++) {
		ASSERT_EQ(0, client_open(&old));
		port = client_port(&old);
		ASSERT_EQ(0, client_session_bind(&old, session));
		/* Opened with another number, then bound to the one that falls free. */
		ASSERT_EQ(0, client_open(&new));
		mnl_socket_close(new.nl);
		new.nl = mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC);
		ASSERT_EQ(0, pthread_create(&thread, NULL, close_it, &old));
		while (mnl_socket_bind(new.nl, 0, port))
			;
		ASSERT_EQ(0, client_session_bind(&new, session));
		pthread_join(thread, NULL);
		ASSERT_EQ(0, client_session_get(&self->c, session, &r));
		lost += r.session.v[SOCKBEAT_A_SESSION_PORT] != port;
		client_close(&new);
	}
	EXPECT_EQ(0, lost);
	close(session);
}

#define AT_ONCE		300

static struct {
	pthread_barrier_t begin;
	int session[AT_ONCE];
	atomic_bool over;
} ends;

static void run_on(int cpu, int priority)
{
	const struct sched_param param = { .sched_priority = priority };
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	if (priority)
		sched_setscheduler(0, SCHED_FIFO, &param);
}

static void *end_sessions(void *arg)
{
	run_on(1, 0);
	pthread_barrier_wait(&ends.begin);
	for (int i = 0; i < AT_ONCE; i++)
		close(ends.session[i]);
	return NULL;
}

/* Keep the processor for so long. */
static void spin_us(unsigned int us)
{
	struct timespec now;
	uint64_t end_us;

	clock_gettime(CLOCK_MONOTONIC, &now);
	end_us = now.tv_sec * 1000000ull + now.tv_nsec / 1000 + us;
	do {
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec * 1000000ull + now.tv_nsec / 1000 < end_us);
}

/* Takes the processor again and again from whoever is at work there. */
static void *interrupt(void *arg)
{
	const struct timespec pause = { .tv_nsec = 50000 };

	run_on(0, 1);
	while (!atomic_load(&ends.over)) {
		nanosleep(&pause, NULL);
		spin_us(3000);
	}
	return NULL;
}

/* The port is closed while its sessions are, elsewhere: each lets go of it once.
 * The kernel's log would tell of more.
 */
TEST_F(session, port_and_sessions_end_at_once)
{
	pthread_t closer, interrupter;
	char modes[64], *mode;
	struct client c;

	mode = preempt_mode(modes, sizeof(modes));
	if (!mode)
		SKIP(return, PREEMPT " is not there: this kernel's preemption is fixed");
	ASSERT_EQ(0, pthread_barrier_init(&ends.begin, NULL, 2));
	ASSERT_EQ(0, file_write(PREEMPT, "full"));
	for (int round = 0; round < 20; round++) {
		ASSERT_EQ(0, client_open(&c));
		for (int i = 0; i < AT_ONCE; i++)
			ends.session[i] = new_session(&c, 1);
		atomic_store(&ends.over, false);
		ASSERT_EQ(0, pthread_create(&closer, NULL, end_sessions, NULL));
		ASSERT_EQ(0, pthread_create(&interrupter, NULL, interrupt, NULL));
		run_on(0, 0);
		pthread_barrier_wait(&ends.begin);
		client_close(&c);
		atomic_store(&ends.over, true);
		pthread_join(closer, NULL);
		pthread_join(interrupter, NULL);
	}
	EXPECT_EQ(0, file_write(PREEMPT, mode));
	pthread_barrier_destroy(&ends.begin);
}

#define TOLD		500	/* peers that have something to tell */

static struct {
	pthread_barrier_t begin;
	struct client old;
	unsigned int delay_us;
	int stolen;
} heir;

/* Closes a port that is being sent to and takes its number. */
static void *inherit_port(void *arg)
{
	uint32_t port = client_port(&heir.old);
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC | SOCK_NONBLOCK);
	char buf[8192];

	run_on(1, 0);
	pthread_barrier_wait(&heir.begin);
	spin_us(heir.delay_us);
	close(mnl_socket_get_fd(heir.old.nl));
	while (mnl_socket_bind(nl, 0, port))
		;
	/* What is on its way arrives. */
	usleep(10000);
	while (mnl_socket_recvfrom(nl, buf, sizeof(buf)) > 0)
		heir.stolen++;
	mnl_socket_close(nl);
	return NULL;
}

/* What is on its way to a port that closes is not for who takes its number. */
TEST_F(session, events_are_not_for_the_next_of_a_number)
{
	struct peer_conf conf = { 100, KEEP, KEEP, 0 };
	pthread_t thread, interrupter;
	char modes[64], *mode;
	struct nlmsghdr *nlh;
	struct pair *pairs;
	uint64_t handle;
	int session;

	mode = preempt_mode(modes, sizeof(modes));
	if (!mode)
		SKIP(return, PREEMPT " is not there: this kernel's preemption is fixed");
	session = client_session_new(&self->c, TOLD, 0, 100, SOCKBEAT_TRIGGER_LEVEL, NULL);
	ASSERT_LE(0, session);
	pairs = calloc(TOLD, sizeof(*pairs));
	ASSERT_EQ(0, tcp_pairs(AF_INET, pairs, TOLD));
	ASSERT_EQ(0, client_open(&heir.old));
	ASSERT_EQ(0, client_session_bind(&heir.old, session));
	for (int i = 0; i < TOLD; i++)
		ASSERT_EQ(0, client_add1(&self->c, session, pairs[i].server, &conf, &handle));
	client_close(&heir.old);
	ASSERT_EQ(0, pthread_barrier_init(&heir.begin, NULL, 2));
	ASSERT_EQ(0, file_write(PREEMPT, "full"));
	heir.stolen = 0;
	for (int round = 0; round < 100; round++) {
		ASSERT_EQ(0, client_open(&heir.old));
		atomic_store(&ends.over, false);
		ASSERT_EQ(0, pthread_create(&thread, NULL, inherit_port, NULL));
		run_on(0, 0);
		ASSERT_EQ(0, pthread_create(&interrupter, NULL, interrupt, NULL));
		heir.delay_us = round % 40 * 100;
		pthread_barrier_wait(&heir.begin);
		/* Who waited for the answer would hold the port open. */
		nlh = client_cmd(&heir.old, SOCKBEAT_CMD_SESSION_BIND);
		mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_FD, session);
		mnl_socket_sendto(heir.old.nl, nlh, nlh->nlmsg_len);
		pthread_join(thread, NULL);
		atomic_store(&ends.over, true);
		pthread_join(interrupter, NULL);
		client_close(&heir.old);
		usleep(100000);
	}
	EXPECT_EQ(0, file_write(PREEMPT, mode));
	EXPECT_EQ(0, heir.stolen);
	pthread_barrier_destroy(&heir.begin);
	for (int i = 0; i < TOLD; i++)
		tcp_pair_close(&pairs[i]);
	free(pairs);
	close(session);
}

/* A socket that its owner closes without peer-del is let go at once: the
 * namespace, which any reference on the socket would hold, can go, and the
 * session is told.
 */
TEST_F(session, closed_socket_holds_no_namespace)
{
	struct peer_conf conf = { 604800000, KEEP, KEEP, 0 };
	struct client inner;
	struct event ev;
	struct pair pair;
	uint64_t handle;
	int old, session;

	old = netns_new();
	ASSERT_LE(0, old);
	ASSERT_EQ(0, client_open(&inner));
	session = new_session(&inner, 1);
	ASSERT_LE(0, session);
	ASSERT_EQ(0, tcp_pair(&pair));
	ASSERT_EQ(0, client_add1(&inner, session, pair.server, &conf, &handle));
	close(pair.server);
	ASSERT_TRUE(client_event(&inner, &ev, 5000));
	EXPECT_EQ(SOCKBEAT_EVENT_KIND_GONE, ev.kind);
	EXPECT_EQ(handle, ev.handle);
	EXPECT_EQ(SOCKBEAT_STATE_GONE, client_state(&inner, session, handle));
	close(pair.client);
	client_close(&inner);
	ASSERT_EQ(0, netns_enter(old));

	EXPECT_TRUE(hung_up(session, 25000));
	/* What is left answers with an error. */
	EXPECT_EQ(-ENETDOWN, client_session_bind(&self->c, session));
	EXPECT_STREQ("the session's network namespace is gone", self->c.why);
	ASSERT_EQ(0, tcp_pair(&pair));
	EXPECT_EQ(-ENETDOWN, client_add1(&self->c, session, pair.server, NULL, &handle));
	EXPECT_EQ(1, client_dump(&self->c, session, 0, NULL, 0));
	tcp_pair_close(&pair);
	close(session);
	close(old);
}

TEST_F(session, bind_from_another_namespace_is_refused)
{
	struct client inner;
	int old, session;

	session = new_session(&self->c, 1);
	ASSERT_LE(0, session);
	old = netns_new();
	ASSERT_LE(0, old);
	ASSERT_EQ(0, client_open(&inner));
	EXPECT_EQ(-EXDEV, client_session_bind(&inner, session));
	EXPECT_STREQ("session belongs to another network namespace", inner.why);
	client_close(&inner);
	ASSERT_EQ(0, netns_enter(old));
	close(session);
	close(old);
}

/* Another user's netlink socket is used for nothing, though he had made himself
 * root of namespaces of his own for it.
 */
static void use_socket_of_another(struct __test_metadata *_metadata, FIXTURE_DATA(session) *self,
				  int namespaces)
{
	int sv[2], session, status;
	pid_t pid;

	session = new_session(&self->c, 1);
	ASSERT_LE(0, session);
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct client c;

		if (setresuid(1000, 1000, 1000) || unshare(namespaces) || client_open(&c) ||
		    send_fd(sv[1], client_fd(&c)))
			_exit(1);
		_exit(0);
	}
	client_close(&self->c);
	ASSERT_EQ(0, client_open(&self->c));
	ASSERT_LE(0, dup2(recv_fd(sv[0]), client_fd(&self->c)));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	EXPECT_EQ(-EPERM, new_session(&self->c, 1));
	EXPECT_STREQ("netlink socket was opened by another user", self->c.why);
	EXPECT_EQ(-EPERM, client_session_bind(&self->c, session));
	close(session);
	close(sv[0]);
	close(sv[1]);
}

TEST_F(session, confused_deputy)
{
	use_socket_of_another(_metadata, self, 0);
}

TEST_F(session, confused_deputy_and_namespaces)
{
	use_socket_of_another(_metadata, self, CLONE_NEWUSER | CLONE_NEWNET);
}

/* An ordinary user tracks its own sockets. */
TEST_F(session, unprivileged_user)
{
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct client c;
		struct pair pair;
		uint64_t handle;
		int session;

		if (setresuid(1000, 1000, 1000) || client_open(&c) || tcp_pair(&pair))
			_exit(1);
		session = new_session(&c, 1);
		if (session < 0)
			_exit(2);
		_exit(client_add1(&c, session, pair.server, NULL, &handle) ? 3 : 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_HARNESS_MAIN
