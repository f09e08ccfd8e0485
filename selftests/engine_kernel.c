// SPDX-License-Identifier: GPL-2.0-only
/*
 * The library on the module: what both engines promise, and what only this one
 * can do.
 */
#define _GNU_SOURCE
#define ENGINE SOCKBEAT_ENGINE_KERNEL
#include <sched.h>
#include <sys/wait.h>
#include "engine_tests.h"
#include "param.h"
#include "wire.h"

/* The end of a socket is noticed at once, whatever the timeout. */
TEST_F(session, gone_at_once)
{
	uint64_t handle;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 60000 });
	handle = add(_metadata, self, self->v4.server, 0);
	tcp_abort(self->v4.client);
	event_of(_metadata, self, GONE, handle, LATE_MS);
}

TEST_F(session, automatic)
{
	ASSERT_EQ(0, sockbeat_open(&self->sb, NULL)) TH_LOG("%s", sockbeat_strerror(self->sb));
	ASSERT_EQ(SOCKBEAT_ENGINE_KERNEL, sockbeat_engine(self->sb));
	ASSERT_EQ(65536, sockbeat_capacity(self->sb));
	ASSERT_LE(0, sockbeat_session_fd(self->sb));
	TH_LOG("kernel engine: %s", sockbeat_engine_reason(self->sb));
}

/* A successor takes a session over; the predecessor ends; deadlines stand. */
TEST_F(session, adopt)
{
	const struct sockbeat_peer beat = { .mask = SOCKBEAT_PEER_SOURCE,
					    .source = SOCKBEAT_SOURCE_BEAT };
	struct sockbeat *heir;
	uint64_t silent, beaten, stale;
	int fd;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 1000, .renotify_ms = 60000 });
	stale = add(_metadata, self, self->v6.client, 0);
	beaten = add_as(_metadata, self, self->v6.server, 2, beat);
	silent = add(_metadata, self, self->v4.server, 1);
	forget(_metadata, self, stale);
	quiet(_metadata, self, 500);
	fd = dup(sockbeat_session_fd(self->sb));
	ASSERT_EQ(0, sockbeat_adopt(&heir, fd)) TH_LOG("%s", sockbeat_strerror(heir));
	sockbeat_close(self->sb);
	self->sb = heir;
	ASSERT_EQ(SOCKBEAT_ENGINE_KERNEL, sockbeat_engine(heir));
	ASSERT_EQ(65536, sockbeat_capacity(heir));
	ASSERT_EQ(fd, sockbeat_session_fd(heir));
	sockbeat_beat(heir, beaten);
	ASSERT_EQ(1, event_of(_metadata, self, SILENT, silent, 500 + LATE_MS).user_data);
	ASSERT_LE(1000, clock_ms() - self->added_ms);
	event_of(_metadata, self, SILENT, beaten, 500 + LATE_MS);
	ASSERT_LE(1500, clock_ms() - self->added_ms);
}

/* What waited for the predecessor goes to the successor. */
TEST_F(session, adopt_with_events_waiting)
{
	struct sockbeat *heir;
	uint64_t handle;
	int fd;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 200, .renotify_ms = 60000 });
	fd = dup(sockbeat_session_fd(self->sb));
	handle = add(_metadata, self, self->v4.server, 0);
	sockbeat_close(self->sb);
	self->sb = NULL;
	while (clock_ms() < self->added_ms + 200 + LATE_MS)
		poll(NULL, 0, self->added_ms + 200 + LATE_MS - clock_ms());
	ASSERT_EQ(0, sockbeat_adopt(&heir, fd));
	self->sb = heir;
	event_of(_metadata, self, SILENT, handle, LATE_MS);
}

/* No handle is 0, and the last owner's is nobody's. */
TEST_F(session, generation_wraps)
{
	uint64_t last, next;

	ASSERT_EQ(0, param_write("first_generation", "4294967295"));
	start(_metadata, self, (struct sockbeat_opts){ .capacity = 1 });
	ASSERT_EQ(0, param_write("first_generation", "1"));
	last = add(_metadata, self, self->v4.server, 0);
	ASSERT_EQ(0xffffffffull << 32, last);
	ASSERT_EQ(0, sockbeat_conn_get(self->sb, last));
	sockbeat_conn_put(self->sb, last);
	retire(_metadata, self, last, 100);
	event_of(_metadata, self, RECYCLED, last, 100);
	next = add(_metadata, self, self->v4.server, 0);
	ASSERT_EQ(1ull << 32, next);
	ASSERT_EQ(-ESTALE, sockbeat_conn_get(self->sb, last));
	ASSERT_EQ(0, sockbeat_conn_get(self->sb, next));
	retire(_metadata, self, next, 100);
	ASSERT_EQ(1, event_of(_metadata, self, RECYCLED, next, 100).refs);
}

/* Who takes a session over can take references, and is told of the end of
 * quarantines, those that the predecessor still held included.
 */
TEST_F(session, adopt_recycled)
{
	uint64_t live, waiting, held;
	struct sockbeat *heir;
	int fd;

	start(_metadata, self, (struct sockbeat_opts){ .renotify_ms = 500 });
	live = add(_metadata, self, self->v4.server, 0);
	waiting = add(_metadata, self, self->v6.server, 0);
	held = add(_metadata, self, self->v6.client, 0);
	ASSERT_EQ(0, sockbeat_conn_get(self->sb, held));
	retire(_metadata, self, held, 10);
	ASSERT_EQ(1, event_of(_metadata, self, RECYCLED, held, 10).refs);
	retire(_metadata, self, waiting, 2000);
	poll(NULL, 0, 300);
	fd = dup(sockbeat_session_fd(self->sb));
	sockbeat_close(self->sb);
	ASSERT_EQ(0, sockbeat_adopt(&heir, fd));
	self->sb = heir;
	ASSERT_EQ(0, sockbeat_conn_get(heir, live));
	ASSERT_EQ(-ESTALE, sockbeat_conn_get(heir, waiting));
	/* It ran on. */
	ASSERT_GE(1701, info_of(_metadata, self, waiting).left_ms);
	ASSERT_EQ(0, event_of(_metadata, self, RECYCLED, held, 500).refs);
	ASSERT_EQ(0, event_of(_metadata, self, RECYCLED, waiting, 2000).refs);
	ASSERT_EQ(SOCKBEAT_STATE_LIVE, info_of(_metadata, self, live).state);
}

/* While both hold the session: what the one retires the other is told of, and
 * the slot comes back.
 */
TEST_F(session, adopted_while_the_predecessor_retires)
{
	struct sockbeat *old, *heir;
	uint64_t handle;

	start(_metadata, self, (struct sockbeat_opts){ .renotify_ms = 500 });
	old = self->sb;
	handle = add(_metadata, self, self->v4.server, 0);
	ASSERT_EQ(0, sockbeat_adopt(&heir, dup(sockbeat_session_fd(old))));
	ASSERT_EQ(1, sockbeat_recycle(old, &handle, 1, 200, 0));
	/* The heir cannot retire it any more, and has no say in references. */
	ASSERT_EQ(0, sockbeat_recycle(heir, &handle, 1, 200, 0));
	ASSERT_EQ(-ESTALE, sockbeat_conn_get(heir, handle));
	self->sb = heir;
	ASSERT_EQ(0, event_of(_metadata, self, RECYCLED, handle, 200).refs);
	adds_up(_metadata, self);
	ASSERT_EQ(0, stats_of(_metadata, self).recycling);
	ASSERT_EQ(1, stats_of(_metadata, self).recycled);
	sockbeat_close(old);
}

#define WORK_CPUS	"/sys/devices/virtual/workqueue/cpumask"

/* A receiver that has the processor as soon as a message is in its buffer, before
 * the module's work goes on: what it was told has happened, for all that it asks.
 */
TEST_F(session, told_is_done)
{
	const struct sched_param first = { .sched_priority = 1 };
	uint64_t handle, recycled = 0;
	char modes[64], cpus[64], *mode;
	cpu_set_t cpu;

	mode = preempt_mode(modes, sizeof(modes));
	if (!mode)
		SKIP(return, PREEMPT " is not there: this kernel's preemption is fixed");
	start(_metadata, self, (struct sockbeat_opts){ .capacity = 1 });
	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(cpu), &cpu));
	ASSERT_EQ(0, sched_setscheduler(0, SCHED_FIFO, &first));
	ASSERT_TRUE(file_read(WORK_CPUS, cpus, sizeof(cpus)));
	ASSERT_EQ(0, file_write(WORK_CPUS, "1"));
	ASSERT_EQ(0, file_write(PREEMPT, "full"));
	while (recycled < 20) {
		handle = add(_metadata, self, self->v4.server, 0);
		retire(_metadata, self, handle, 1);
		event_of(_metadata, self, RECYCLED, handle, 1);
		EXPECT_EQ(++recycled, stats_of(_metadata, self).recycled);
	}
	EXPECT_EQ(0, file_write(PREEMPT, mode));
	EXPECT_EQ(0, file_write(WORK_CPUS, cpus));
}

/* The netlink sockets of this process. */
static void set_rcvbufs(SELF, int bytes)
{
	int fd, domain, found = 0;
	socklen_t len;

	for (fd = 0; fd < 1024; fd++) {
		len = sizeof(domain);
		if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) || domain != AF_NETLINK)
			continue;
		ASSERT_EQ(0, setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)));
		found++;
	}
	ASSERT_EQ(2, found);
}

TEST_F(session, adopt_refused)
{
	ASSERT_EQ(-EINVAL, sockbeat_adopt(&self->sb, self->v4.server));
	says(_metadata, self, "session-get", "fd is not a sockbeat session", "");
	sockbeat_close(self->sb);
	ASSERT_EQ(-EBADF, sockbeat_adopt(&self->sb, 987654));
	says(_metadata, self, "session-get", "session fd is not open", "");
	sockbeat_close(self->sb);
	ASSERT_EQ(-EBADF, sockbeat_adopt(&self->sb, -1));
	says(_metadata, self, "session-bind", "fd -1", "not open");
	/* The caller's descriptor is still the caller's. */
	ASSERT_EQ(0, close(self->v4.server));
	self->v4.server = -1;
}

/* A session of another network namespace keeps its events. */
TEST_F(session, adopt_from_another_namespace)
{
	int fd, home;

	start(_metadata, self, (struct sockbeat_opts){ .timeout_ms = 1000 });
	fd = dup(sockbeat_session_fd(self->sb));
	sockbeat_close(self->sb);
	home = netns_new();
	ASSERT_LE(0, home);
	ASSERT_EQ(-EXDEV, sockbeat_adopt(&self->sb, fd));
	says(_metadata, self, "session-bind", "session belongs to another network namespace", "");
	ASSERT_EQ(0, netns_enter(home));
	close(home);
	close(fd);
}

/* In a time namespace our clock is another than the module's. */
TEST_F(session, beat_in_a_time_namespace)
{
	int offsets, status;
	uint64_t handle;
	pid_t pid;

	if (unshare(CLONE_NEWTIME))
		SKIP(return, "no time namespaces here");
	offsets = open("/proc/self/timens_offsets", O_WRONLY);
	ASSERT_LE(0, offsets);
	ASSERT_EQ(17, write(offsets, "monotonic 10000 0", 17));
	close(offsets);
	/* Only children live in it. */
	pid = fork();
	if (!pid) {
		start(_metadata, self,
		      (struct sockbeat_opts){ .timeout_ms = 1000,
					      .source = SOCKBEAT_SOURCE_BEAT });
		handle = add(_metadata, self, self->v4.server, 0);
		quiet(_metadata, self, 500);
		sockbeat_beat(self->sb, handle);
		quiet(_metadata, self, 800);
		ASSERT_EQ(0, stats_of(_metadata, self).bad_stamps);
		event_of(_metadata, self, SILENT, handle, 200 + LATE_MS);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
}

/* Events of twenty thousand peers through a buffer of 4 KiB: none is lost and
 * none told twice.
 */
TEST_F_TIMEOUT(session, small_buffer, 240)
{
	enum { MAX = 20000 };
	static struct sockbeat_peer peer[MAX];
	static struct pair pairs[MAX / 2];
	const int N = test_peers(MAX);
	struct sockbeat_event event[7];
	int i, n, total = 0;
	struct sockbeat_stats stats;

	if (want_fds(N))
		SKIP(return, "RLIMIT_NOFILE cannot be raised for %d sockets", N);
	start(_metadata, self, (struct sockbeat_opts){ .capacity = N, .timeout_ms = 1000,
						       .trigger = SOCKBEAT_TRIGGER_EDGE });
	set_rcvbufs(_metadata, self, 4096);
	ASSERT_EQ(0, tcp_pairs(AF_INET, pairs, N / 2));
	for (i = 0; i < N; i++) {
		peer[i].fd = i % 2 ? pairs[i / 2].server : pairs[i / 2].client;
		peer[i].user_data = i;
	}
	ASSERT_EQ(N, sockbeat_add(self->sb, peer, N)) TH_LOG("%s", sockbeat_strerror(self->sb));
	while (total < N) {
		n = events_until(_metadata, self, event, 7, clock_ms() + 5000);
		ASSERT_LT(0, n) TH_LOG("%d of %d reported", total, N);
		for (i = 0; i < n; i++) {
			ASSERT_EQ(SILENT, event[i].kind);
			ASSERT_EQ(0, peer[event[i].user_data].mask) TH_LOG("reported twice");
			peer[event[i].user_data].mask = 1;
		}
		total += n;
	}
	quiet(_metadata, self, 500);
	stats = stats_of(_metadata, self);
	ASSERT_EQ(N, stats.silences);
	ASSERT_EQ(N, stats.events);
	ASSERT_LT(0, stats.deferrals);
	TH_LOG("%" PRIu64 " messages, %" PRIu64 " found no room", stats.messages,
	       stats.deferrals);
	for (i = 0; i < N / 2; i++)
		tcp_abort(pairs[i].client);
}

/* Offload. */

static void beat_and_see(SELF, bool answered)
{
	struct pollfd pfd = { .events = POLLIN };
	char bytes[8];

	ASSERT_EQ(8, send(self->v4.client, wire_heartbeat, 8, 0));
	pfd.fd = answered ? self->v4.client : self->v4.server;
	ASSERT_EQ(1, poll(&pfd, 1, PATIENCE_MS));
	pfd.fd = answered ? self->v4.server : self->v4.client;
	ASSERT_EQ(0, poll(&pfd, 1, 0));
	if (answered)
		ASSERT_EQ(8, recv(self->v4.client, bytes, sizeof(bytes), MSG_WAITALL));
}

static struct sockbeat_conn begin_offload(SELF)
{
	struct sockbeat_peer peer = { .mask = SOCKBEAT_PEER_PROFILE, .profile = 1 };
	struct sockbeat_conn conn;
	uint64_t handle;

	ASSERT_EQ(0, sockbeat_profile_set(self->sb, 1, sockbeat_profile_named("native")));
	handle = add_as(_metadata, self, self->v4.server, 0, peer);
	ASSERT_EQ(1, info_of(_metadata, self, handle).profile);
	sockbeat_conn_begin(self->sb, &conn, handle);
	return conn;
}

static void client_says(SELF, struct sockbeat_conn *conn, const char *text, size_t len)
{
	struct pollfd pfd = { .fd = self->v4.server, .events = POLLIN };
	char bytes[64];

	ASSERT_EQ(len, send(self->v4.client, text, len, 0));
	ASSERT_EQ(1, poll(&pfd, 1, PATIENCE_MS));
	ASSERT_EQ(len, sockbeat_conn_read(conn, self->v4.server, bytes, sizeof(bytes)));
}

/* Offload goes on after each round of an application that counts. */
TEST_F(session, offload_between_frames)
{
	struct sockbeat_conn conn;
	char bytes[16];

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 16, .check_positions = true });
	conn = begin_offload(_metadata, self);
	beat_and_see(_metadata, self, true);
	client_says(_metadata, self, &conn, "frame+half", 10);
	ASSERT_EQ(0, sockbeat_conn_done(&conn, 4, 0)) TH_LOG("%s", sockbeat_strerror(self->sb));
	client_says(_metadata, self, &conn, "+rest", 5);
	ASSERT_EQ(5, sockbeat_conn_write(&conn, self->v4.server, "reply", 5));
	ASSERT_EQ(0, sockbeat_conn_done(&conn, 0, 0)) TH_LOG("%s", sockbeat_strerror(self->sb));
	ASSERT_EQ(5, recv(self->v4.client, bytes, 5, MSG_WAITALL));
	beat_and_see(_metadata, self, true);
	ASSERT_EQ(2, stats_of(_metadata, self).answered);
	ASSERT_EQ(1, stats_of(_metadata, self).pass_data);
	ASSERT_EQ(1, stats_of(_metadata, self).pass_position);
	/* What waits in the process is not overtaken. */
	ASSERT_EQ(0, sockbeat_conn_done(&conn, 0, 3)) TH_LOG("%s", sockbeat_strerror(self->sb));
	beat_and_see(_metadata, self, false);
	ASSERT_EQ(2, stats_of(_metadata, self).pass_position);
}

/* Nor is the end of a stream a byte that was not counted. */
TEST_F(session, offload_and_the_end)
{
	struct sockbeat_conn conn;
	char byte;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 16, .check_positions = true });
	conn = begin_offload(_metadata, self);
	ASSERT_EQ(4, send(self->v4.client, "last", 4, 0));
	ASSERT_EQ(0, shutdown(self->v4.client, SHUT_WR));
	while (info_of(_metadata, self, conn.handle).tcp_state != TCP_CLOSE_WAIT)
		poll(NULL, 0, 1);
	for (int left = 4; left; left--)
		ASSERT_EQ(1, sockbeat_conn_read(&conn, self->v4.server, &byte, 1));
	ASSERT_EQ(0, sockbeat_conn_read(&conn, self->v4.server, &byte, 1));
	ASSERT_EQ(0, sockbeat_conn_done(&conn, 0, 0)) TH_LOG("%s", sockbeat_strerror(self->sb));
	ASSERT_EQ(1, sockbeat_conn_write(&conn, self->v4.server, "x", 1));
	ASSERT_EQ(0, sockbeat_conn_done(&conn, 0, 0)) TH_LOG("%s", sockbeat_strerror(self->sb));
	ASSERT_EQ(0, sockbeat_conn_check(&conn)) TH_LOG("%s", sockbeat_strerror(self->sb));
}

TEST_F(session, offload_and_frames_undone)
{
	struct sockbeat_conn conn;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 16 });
	conn = begin_offload(_metadata, self);
	client_says(_metadata, self, &conn, "request", 7);
	ASSERT_EQ(0, sockbeat_conn_done(&conn, 7, 0));
	beat_and_see(_metadata, self, false);
}

/* Who reads or writes behind the library's back is found. */
TEST_F(session, offload_not_counted)
{
	struct sockbeat_conn conn;
	char bytes[16];

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 16 });
	conn = begin_offload(_metadata, self);
	client_says(_metadata, self, &conn, "counted", 7);
	ASSERT_EQ(0, sockbeat_conn_done(&conn, 0, 0));
	ASSERT_EQ(0, sockbeat_conn_check(&conn)) TH_LOG("%s", sockbeat_strerror(self->sb));
	ASSERT_EQ(4, send(self->v4.client, "lost", 4, 0));
	ASSERT_EQ(4, recv(self->v4.server, bytes, sizeof(bytes), 0));
	ASSERT_EQ(3, send(self->v4.server, "too", 3, 0));
	ASSERT_EQ(-ESTALE, sockbeat_conn_check(&conn));
	says(_metadata, self, "4 bytes read", "3 bytes written", "were not counted");
	sockbeat_conn_count(&conn, 4, 3);
	ASSERT_EQ(0, sockbeat_conn_done(&conn, 0, 0));
	ASSERT_EQ(0, sockbeat_conn_check(&conn)) TH_LOG("%s", sockbeat_strerror(self->sb));
}

/* A handle of yesterday does not write into today's record. */
TEST_F(session, offload_of_a_former_peer)
{
	struct sockbeat_conn old, conn;

	start(_metadata, self, (struct sockbeat_opts){ .capacity = 1 });
	old = begin_offload(_metadata, self);
	forget(_metadata, self, old.handle);
	conn = begin_offload(_metadata, self);
	sockbeat_conn_done(&old, 0, 100);
	beat_and_see(_metadata, self, true);
	ASSERT_EQ(0, sockbeat_conn_check(&conn)) TH_LOG("%s", sockbeat_strerror(self->sb));
}

TEST_HARNESS_MAIN
