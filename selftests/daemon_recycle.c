// SPDX-License-Identifier: GPL-2.0-only
/*
 * What becomes of the requests of clients that go, and when others get their
 * places.
 */
#define _GNU_SOURCE
#include "daemon_work.h"
#include "ctl.h"
#include "param.h"

TEST_F(daemon, requests_of_one_client_are_done_in_order)
{
	uint8_t a[SLEEP_BYTES], b[SLEEP_BYTES], c[SLEEP_BYTES];
	int fd;

	START("workers=4");
	fd = client(self);
	ASSERT_TRUE(ask(fd, 200, "a", a) && ask(fd, 0, "b", b) && ask(fd, 100, "c", c));
	/* Heartbeats do not wait for them. */
	ASSERT_TRUE(put(fd, wire_heartbeat, 8));
	EXPECT_TRUE(expect(fd, wire_heartbeat, 8));
	EXPECT_TRUE(expect(fd, a, sizeof(a)));
	EXPECT_TRUE(expect(fd, b, sizeof(b)));
	EXPECT_TRUE(expect(fd, c, sizeof(c)));
	EXPECT_TRUE(jobs_add_up(self));
	EXPECT_EQ(3, work(self, "jobs_done"));
	close(fd);
}

TEST_F(daemon, requests_of_many_clients_are_done_at_once)
{
	enum { N = 8, MS = 400 };
	uint8_t frame[N][SLEEP_BYTES];
	uint64_t start;
	int fd[N], i;

	START("workers=8");
	for (i = 0; i < N; i++)
		fd[i] = client(self);
	start = now_ms();
	for (i = 0; i < N; i++)
		ASSERT_TRUE(ask(fd[i], MS, "x", frame[i]));
	for (i = 0; i < N; i++) {
		EXPECT_TRUE(expect(fd[i], frame[i], SLEEP_BYTES));
		close(fd[i]);
	}
	EXPECT_LE(MS, now_ms() - start);
	EXPECT_GE(N * MS / 2, now_ms() - start);
}

/* Frames of all kinds in one read: each gets its answer. */
TEST_F(daemon, sleep_between_echoes)
{
	uint8_t wire[256], *at = wire, echo[2][64], sleep[SLEEP_BYTES];
	size_t len[2];
	int fd;

	START();
	fd = client(self);
	len[0] = wire_echo(echo[0], 30, 1);
	len[1] = wire_echo(echo[1], 20, 2);
	at = mempcpy(at, echo[0], len[0]);
	at += wire_sleep(at, 50, "0123456789abcdef", TOKEN_BYTES);
	memcpy(sleep, at - SLEEP_BYTES, SLEEP_BYTES);
	at = mempcpy(at, wire_heartbeat, 8);
	at = mempcpy(at, echo[1], len[1]);
	ASSERT_TRUE(put(fd, wire, at - wire));
	EXPECT_TRUE(expect(fd, echo[0], len[0]));
	EXPECT_TRUE(expect(fd, wire_heartbeat, 8));
	EXPECT_TRUE(expect(fd, echo[1], len[1]));
	EXPECT_TRUE(expect(fd, sleep, SLEEP_BYTES));
	EXPECT_EQ(4, answered(self, "frames"));
	EXPECT_EQ(1, answered(self, "heartbeats"));
	close(fd);
}

TEST_F(daemon, sleep_out_of_range)
{
	uint8_t frame[SLEEP_BYTES];
	int fd;

	START();
	fd = client(self);
	ASSERT_TRUE(ask(fd, 600001, "x", frame));
	EXPECT_TRUE(expect_end(fd));
	EXPECT_EQ(1, closed(self, "bad_request"));
	close(fd);
}

TEST_F(daemon, full_work_queue_closes)
{
	uint8_t frame[3][SLEEP_BYTES];
	int a, b, c;

	START("workers=1", "work_queue=1");
	a = client(self);
	b = client(self);
	c = client(self);
	ASSERT_TRUE(ask(a, 500, "a", frame[0]) && work_reaches(self, "running", 1));
	ASSERT_TRUE(ask(b, 0, "b", frame[1]) && work_reaches(self, "waiting", 1));
	ASSERT_TRUE(ask(c, 0, "c", frame[2]));
	EXPECT_TRUE(expect_end(c));
	EXPECT_EQ(1, closed(self, "busy"));
	EXPECT_TRUE(expect(a, frame[0], SLEEP_BYTES));
	EXPECT_TRUE(expect(b, frame[1], SLEEP_BYTES));
	EXPECT_TRUE(jobs_add_up(self));
	close(a);
	close(b);
	close(c);
}

TEST_F(daemon, full_work_queue_waits)
{
	uint8_t frame[3][SLEEP_BYTES], more[2][SLEEP_BYTES], got[3 * SLEEP_BYTES + 8], *at;
	int a, b, c;

	START("workers=1", "work_queue=1", "when_work_full=wait");
	a = client(self);
	b = client(self);
	c = client(self);
	ASSERT_TRUE(ask(a, 500, "a", frame[0]) && work_reaches(self, "running", 1));
	ASSERT_TRUE(ask(b, 50, "b", frame[1]) && work_reaches(self, "waiting", 1));
	ASSERT_TRUE(ask(c, 0, "c", frame[2]) && work_reaches(self, "work_pauses", 1));
	/* What follows waits with it, and nobody else does. */
	ASSERT_TRUE(ask(c, 10, "d", more[0]) && put(c, wire_heartbeat, 8) && ask(c, 0, "e", more[1]));
	EXPECT_TRUE(is_served(a));
	EXPECT_TRUE(expect(a, frame[0], SLEEP_BYTES));
	EXPECT_TRUE(expect(b, frame[1], SLEEP_BYTES));
	/* The heartbeat may come anywhere between. */
	ASSERT_EQ(sizeof(got), recv(c, got, sizeof(got), MSG_WAITALL));
	at = memmem(got, sizeof(got), wire_heartbeat, 8);
	ASSERT_NE(NULL, at);
	memmove(at, at + 8, got + sizeof(got) - at - 8);
	EXPECT_EQ(0, memcmp(got, frame[2], SLEEP_BYTES));
	EXPECT_EQ(0, memcmp(got + SLEEP_BYTES, more[0], SLEEP_BYTES));
	EXPECT_EQ(0, memcmp(got + 2 * SLEEP_BYTES, more[1], SLEEP_BYTES));
	EXPECT_TRUE(jobs_add_up(self));
	EXPECT_EQ(5, work(self, "jobs_done"));
	EXPECT_EQ(7, answered(self, "frames"));
	EXPECT_EQ(2, answered(self, "heartbeats"));
	close(a);
	close(b);
	close(c);
}

/* However many requests a client sends, others have room and workers. */
TEST_F(daemon, greedy_client_takes_its_own_time)
{
	enum { N = 60 };
	uint8_t frame[N][SLEEP_BYTES], own[SLEEP_BYTES];
	int a, b;

	START("workers=2", "work_queue=10", "max_client_jobs=4");
	a = client(self);
	b = client(self);
	for (int i = 0; i < N; i++)
		ASSERT_TRUE(ask(a, 10 + i, "a", frame[i]));
	ASSERT_TRUE(work_reaches(self, "waiting", 4));
	for (int i = 0; i < 5; i++) {
		ASSERT_TRUE(ask(b, 0, "b", own));
		EXPECT_TRUE(expect(b, own, SLEEP_BYTES));
		EXPECT_GE(5, work(self, "waiting"));
	}
	EXPECT_GT(N, work(self, "jobs_done"));
	for (int i = 0; i < N; i++)
		EXPECT_TRUE(expect(a, frame[i], SLEEP_BYTES));
	EXPECT_EQ(0, closed(self, "busy"));
	EXPECT_EQ(0, work(self, "work_pauses"));
	EXPECT_TRUE(jobs_add_up(self));
	close(a);
	close(b);
}

/* Who waits longest for room gets it first, and waits once. */
TEST_F(daemon, stalled_clients_are_served_in_order)
{
	enum { N = 6 };
	/* Time enough for us to have a look between two answers. */
	const int job_ms = is_slow() ? 1500 : 200;
	uint8_t frame[N + 2][SLEEP_BYTES];
	int fd[N + 2], i;

	START("workers=1", "work_queue=1", "when_work_full=wait");
	for (i = 0; i < N + 2; i++) {
		fd[i] = client(self);
		ASSERT_TRUE(ask(fd[i], i ? job_ms : 5 * job_ms, "x", frame[i]));
		ASSERT_TRUE(i ? i == 1 ? work_reaches(self, "waiting", 1) :
				work_reaches(self, "work_pauses", i - 1) :
				work_reaches(self, "running", 1));
	}
	for (i = 0; i < N + 2; i++) {
		EXPECT_TRUE(expect(fd[i], frame[i], SLEEP_BYTES));
		/* The one after the next has a whole job to go at least. */
		if (i + 2 < N + 2)
			EXPECT_EQ(-1, recv(fd[i + 2], frame[0], 1, MSG_DONTWAIT));
	}
	EXPECT_EQ(N, work(self, "work_pauses"));
	for (i = 0; i < N + 2; i++)
		close(fd[i]);
}

/* Heartbeats that we would not read are no silence. */
TEST_F(daemon, stalled_client_is_not_silent)
{
	uint8_t frame[3][SLEEP_BYTES];
	uint64_t until;
	int a, b, c;

	START("workers=1", "work_queue=1", "when_work_full=wait", "source=beat", "timeout_ms=500");
	a = client(self);
	b = client(self);
	c = client(self);
	ASSERT_TRUE(ask(a, 2000, "a", frame[0]) && work_reaches(self, "running", 1));
	ASSERT_TRUE(ask(b, 0, "b", frame[1]) && work_reaches(self, "waiting", 1));
	ASSERT_TRUE(ask(c, 0, "c", frame[2]) && work_reaches(self, "work_pauses", 1));
	for (until = now_ms() + 1500; now_ms() < until; usleep(50000)) {
		EXPECT_TRUE(put(a, wire_heartbeat, 8));
		EXPECT_TRUE(put(b, wire_heartbeat, 8));
		EXPECT_TRUE(put(c, wire_heartbeat, 8));
	}
	EXPECT_EQ(0, closed(self, "silent"));
	EXPECT_EQ(3, sockbeatd_stat(&self->d, "", "connections"));
	close(a);
	close(b);
	close(c);
}

/* A client that goes while it is stalled leaves nothing behind. */
TEST_F(daemon, stalled_client_goes)
{
	uint8_t frame[4][SLEEP_BYTES];
	int a, b;

	START("workers=1", "work_queue=1", "when_work_full=wait", "pool_slots=2",
	      "recycle_delay_ms=0");
	a = client(self);
	b = client(self);
	ASSERT_TRUE(ask(a, 1000, "a", frame[0]) && work_reaches(self, "running", 1));
	ASSERT_TRUE(ask(a, 0, "b", frame[1]) && work_reaches(self, "waiting", 1));
	ASSERT_TRUE(ask(b, 0, "c", frame[2]) && work_reaches(self, "work_pauses", 1));
	tcp_abort(b);
	EXPECT_EQ(1, sockbeatd_stat_wait(&self->d, "closed", "reset", 1));
	/* Its place is another's now, who stalls as well. */
	b = client(self);
	ASSERT_TRUE(ask(b, 0, "d", frame[3]) && work_reaches(self, "work_pauses", 2));
	EXPECT_TRUE(expect(a, frame[0], SLEEP_BYTES));
	EXPECT_TRUE(expect(a, frame[1], SLEEP_BYTES));
	EXPECT_TRUE(expect(b, frame[3], SLEEP_BYTES));
	EXPECT_TRUE(jobs_add_up(self));
	EXPECT_EQ(3, work(self, "jobs_done"));
	/* Nobody came back to the one that went. */
	while (log_more(&self->d, now_ms() + 20))
		;
	EXPECT_EQ(NULL, strstr(self->d.log, "Z error "));
	close(a);
	close(b);
}

/* Room is passed on at once: nobody's result comes, and nobody asks for
 * statistics, between the end of the one and the answer to the other.
 */
TEST_F(daemon, room_of_a_client_that_goes_is_for_others)
{
	uint8_t frame[3][SLEEP_BYTES];
	uint64_t start;
	int a, b;

	START("workers=2", "work_queue=1", "when_work_full=wait");
	a = client(self);
	b = client(self);
	ASSERT_TRUE(ask(a, 5000, "a", frame[0]) && work_reaches(self, "running", 1));
	ASSERT_TRUE(ask(a, 0, "b", frame[1]) && work_reaches(self, "waiting", 1));
	ASSERT_TRUE(ask(b, 0, "c", frame[2]) && work_reaches(self, "work_pauses", 1));
	start = now_ms();
	tcp_abort(a);
	EXPECT_TRUE(expect(b, frame[2], SLEEP_BYTES));
	EXPECT_GE(2500, now_ms() - start);
	close(b);
}

/* Half a connection is enough for an answer. */
TEST_F(daemon, client_that_ends_gets_its_answers)
{
	uint8_t a[SLEEP_BYTES], b[SLEEP_BYTES];
	int fd;

	START();
	fd = client(self);
	ASSERT_TRUE(ask(fd, 200, "a", a) && ask(fd, 100, "b", b));
	ASSERT_EQ(0, shutdown(fd, SHUT_WR));
	EXPECT_TRUE(expect(fd, a, sizeof(a)));
	EXPECT_TRUE(expect(fd, b, sizeof(b)));
	EXPECT_TRUE(expect_end(fd));
	EXPECT_EQ(1, sockbeatd_stat_wait(&self->d, "closed", "peer_close", 1));
	close(fd);
}

/* The seed of it all, one time and slowly. */
TEST_F(daemon, late_result_goes_to_nobody)
{
	uint8_t running[SLEEP_BYTES], waiting[SLEEP_BYTES], own[SLEEP_BYTES];
	int a, b;

	START("workers=2", "pool_slots=2", "recycle_delay_ms=1500");
	a = client(self);
	ASSERT_TRUE(ask(a, 1000, "A", running) && ask(a, 1000, "A too", waiting));
	ASSERT_TRUE(work_reaches(self, "running", 1));
	tcp_abort(a);
	ASSERT_EQ(1, sockbeatd_stat_wait(&self->d, "closed", "reset", 1));
	EXPECT_EQ(1, work(self, "jobs_dropped"));
	b = client(self);
	ASSERT_TRUE(ask(b, 0, "B", own) && expect(b, own, SLEEP_BYTES));
	EXPECT_EQ(1, pool(self, "quarantined"));
	EXPECT_EQ(1, pool(self, "live"));
	EXPECT_EQ(0, pool(self, "free"));
	ASSERT_TRUE(work_reaches(self, "results_closed", 1));
	EXPECT_TRUE(jobs_add_up(self));
	ASSERT_TRUE(is_served(b));
	EXPECT_EQ(-1, recv(b, own, 1, MSG_DONTWAIT));
	close(b);
}

TEST_F(daemon, full_pool_closes)
{
	int a, b, c;

	START("pool_slots=2");
	a = client(self);
	b = client(self);
	ASSERT_TRUE(is_served(a) && is_served(b));
	c = client(self);
	EXPECT_TRUE(expect_end(c));
	close(c);
	EXPECT_EQ(1, closed(self, "pool_full"));
	/* A place in quarantine is no place. */
	tcp_abort(a);
	EXPECT_EQ(1, sockbeatd_stat_wait(&self->d, "pool", "quarantined", 1));
	c = client(self);
	EXPECT_TRUE(expect_end(c));
	EXPECT_EQ(2, closed(self, "pool_full"));
	EXPECT_TRUE(is_served(b));
	close(b);
	close(c);
}

TEST_F(daemon, full_pool_waits)
{
	uint64_t gone;
	int a, b;

	START("pool_slots=1", "when_full=wait", "recycle_delay_ms=700");
	a = client(self);
	ASSERT_TRUE(is_served(a));
	EXPECT_EQ(0, sockbeatd_stat(&self->d, "", "full_pauses"));
	b = client(self);
	ASSERT_TRUE(put(b, wire_heartbeat, 8));
	EXPECT_LE(1, sockbeatd_stat_wait(&self->d, "", "full_pauses", 1));
	EXPECT_EQ(1, sockbeatd_stat(&self->d, "", "accepted"));
	gone = now_ms();
	tcp_abort(a);
	/* The place is kept for the delay, and not much longer. */
	EXPECT_TRUE(expect(b, wire_heartbeat, 8));
	EXPECT_LE(700, now_ms() - gone);
	/* Nobody held it, so it was not released either. */
	while (log_more(&self->d, now_ms() + 20))
		;
	EXPECT_EQ(NULL, strstr(self->d.log, " released "));
	EXPECT_EQ(0, closed(self, "pool_full"));
	close(b);
}

TEST_F(daemon, max_connections_waits)
{
	int a, b;

	START("max_connections=1", "when_full=wait", "recycle_delay_ms=0");
	a = client(self);
	ASSERT_TRUE(is_served(a));
	EXPECT_EQ(0, sockbeatd_stat(&self->d, "", "full_pauses"));
	b = client(self);
	ASSERT_TRUE(put(b, wire_heartbeat, 8));
	EXPECT_LE(1, sockbeatd_stat_wait(&self->d, "", "full_pauses", 1));
	EXPECT_TRUE(is_served(a));
	close(a);
	EXPECT_TRUE(expect(b, wire_heartbeat, 8));
	EXPECT_EQ(0, closed(self, "limit"));
	close(b);
}

/* A worker that takes longer than the quarantine keeps the place for itself. */
TEST_F(daemon, busy_worker_holds_the_slot)
{
	uint8_t frame[SLEEP_BYTES];
	uint64_t start;
	int a, b;

	START("pool_slots=1", "when_full=wait", "recycle_delay_ms=100", "renotify_ms=300");
	a = client(self);
	start = now_ms();
	ASSERT_TRUE(ask(a, 2000, "a", frame) && work_reaches(self, "running", 1));
	tcp_abort(a);
	b = client(self);
	ASSERT_TRUE(put(b, wire_heartbeat, 8));
	ASSERT_NE(NULL, log_wait(&self->d, " held reactor=0 slot=0 refs=1 age_ms="));
	EXPECT_EQ(1, pool(self, "held"));
	EXPECT_EQ(1, pool(self, "quarantined"));
	EXPECT_TRUE(expect(b, wire_heartbeat, 8));
	EXPECT_LE(2000, now_ms() - start);
	ASSERT_NE(NULL, log_wait(&self->d, " released reactor=0 slot=0 age_ms="));
	EXPECT_EQ(0, pool(self, "held"));
	EXPECT_EQ(1, work(self, "results_closed") + work(self, "results_reused"));
	EXPECT_LE(1, sockbeatd_stat(&self->d, "", "held_slots"));
	close(b);
}

/* The immediate close: a place is free at once. */
TEST_F(daemon, no_quarantine)
{
	enum { N = 200 };
	uint8_t frame[SLEEP_BYTES];

	START("pool_slots=1", "when_full=wait", "recycle_delay_ms=0");
	for (int i = 0; i < N; i++) {
		int fd = client(self);

		ASSERT_TRUE(ask(fd, 0, "x", frame) && expect(fd, frame, SLEEP_BYTES));
		tcp_abort(fd);
	}
	/* Who has the answer is not worked for any more. */
	EXPECT_EQ(0, sockbeatd_stat(&self->d, "session", "held_total"));
	EXPECT_EQ(N, sockbeatd_stat(&self->d, "session", "recycled") +
		      sockbeatd_stat(&self->d, "", "connections"));
}

TEST_F(daemon, drain_waits_for_jobs)
{
	uint8_t a[SLEEP_BYTES], b[SLEEP_BYTES];
	int fd;

	START("drain_timeout_ms=20000");
	fd = client(self);
	ASSERT_TRUE(ask(fd, 500, "a", a) && ask(fd, 100, "b", b));
	ASSERT_TRUE(work_reaches(self, "running", 1));
	kill(self->d.pid, SIGTERM);
	EXPECT_TRUE(expect(fd, a, sizeof(a)));
	EXPECT_TRUE(expect(fd, b, sizeof(b)));
	EXPECT_TRUE(expect_end(fd));
	EXPECT_EQ(0, sockbeatd_wait(&self->d));
	close(fd);
}

/* Heartbeats are not read any more then, so that they do not come is no silence. */
TEST_F(daemon, drain_waits_for_jobs_of_those_who_beat)
{
	uint8_t a[SLEEP_BYTES];
	int fd;

	START("drain_timeout_ms=20000", "source=beat", "timeout_ms=500", "offload=off");
	fd = client(self);
	ASSERT_TRUE(ask(fd, 2000, "a", a) && work_reaches(self, "running", 1));
	kill(self->d.pid, SIGTERM);
	EXPECT_TRUE(expect(fd, a, sizeof(a)));
	close(fd);
	EXPECT_EQ(0, sockbeatd_wait(&self->d));
}

/* What a client sends to a server that drains is not read, and no reason to
 * look at it all the time.
 */
TEST_F(daemon, drain_is_quiet_while_a_job_runs)
{
	uint8_t sleep[SLEEP_BYTES], echo[4104], got[65536];
	size_t len = wire_echo(echo, sizeof(echo) - 8, 1);
	/* It must last longer than what comes before the silence. */
	int job_ms = is_slow() ? 30000 : 4000;
	struct pollfd pfd = { .events = POLLIN };
	long before;

	START("drain_timeout_ms=60000", "max_queue_bytes=4096");
	pfd.fd = client(self);
	ASSERT_TRUE(ask(pfd.fd, job_ms, "a", sleep) && work_reaches(self, "running", 1));
	/* The last of these stay unread. */
	ASSERT_LT(0, fill(self, pfd.fd, echo, len));
	kill(self->d.pid, SIGTERM);
	/* What waits to be sent waits still. */
	ASSERT_TRUE(refuses(self));
	while (poll(&pfd, 1, 300) > 0)
		ASSERT_LT(0, recv(pfd.fd, got, sizeof(got), 0));
	before = cpu_ms(self->d.pid);
	EXPECT_EQ(0, poll(&pfd, 1, 1000));
	EXPECT_GE(200, cpu_ms(self->d.pid) - before);
	pfd.revents = 0;
	EXPECT_EQ(1, poll(&pfd, 1, job_ms));
	EXPECT_TRUE(expect(pfd.fd, sleep, sizeof(sleep)));
	close(pfd.fd);
	EXPECT_EQ(0, sockbeatd_wait(&self->d));
}

/* The id of the daemon's only session. */
static int session_id(void)
{
	static const char key[] = "\"session\":";
	const char *id = strstr(ctl_run("sessions -j")->out, key);

	return id ? atoi(id + strlen(key)) : -1;
}

/* Whose peer an operator has retired is closed before its place is another's. */
TEST_F(daemon, retired_by_another)
{
	const struct result *r;
	int a, b;

	if (!on_kernel())
		SKIP(return, "nobody else has a session of the builtin engine");
	START("pool_slots=1", "when_full=wait");
	a = client(self);
	ASSERT_TRUE(is_served(a));
	r = ctl_run("recycle -d 100 %d 1:0", session_id());
	ASSERT_EQ(0, r->status) TH_LOG("%s", r->err);
	b = client(self);
	EXPECT_TRUE(is_served(b));
	EXPECT_TRUE(expect_end(a));
	EXPECT_EQ(1, closed(self, "retired"));
	EXPECT_EQ(1, sockbeatd_stat(&self->d, "", "connections"));
	close(a);
	close(b);
}

/* What an operator sets is how long places rest from then on. */
/* What the file says counts, 0 too, and not what others have the module do. */
TEST_F(daemon, keys_of_zero_are_meant)
{
	static const char *const params[][3] = {
		{ "default_action", "2", "0" }, { "act_after_ms", "777", "0" },
		{ "suspect_percent", "50", "0" }, { "adaptive_beats", "3", "0" },
		{ "guard_percent", "50", "0" },
	};
	static const char *const expected[] = {
		"\"action\":\"notify\"", "\"act_after_ms\":0,", "\"suspect_percent\":0,",
		"\"adaptive_beats\":0,", "\"guard_percent\":0,",
	};
	const struct result *r;

	if (!on_kernel())
		SKIP(return, "the builtin engine has no defaults that others set");
	for (size_t i = 0; i < 5; i++)
		EXPECT_EQ(0, param_write(params[i][0], params[i][1]));
	START("source=beat", "act_after_ms=0", "suspect_percent=0", "adaptive_beats=0");
	for (size_t i = 0; i < 5; i++)
		EXPECT_EQ(0, param_write(params[i][0], params[i][2]));
	r = ctl_run("sessions -j %d", session_id());
	ASSERT_EQ(0, r->status) TH_LOG("%s", r->err);
	for (size_t i = 0; i < 5; i++) {
		EXPECT_NE(NULL, strstr(r->out, expected[i])) {
			TH_LOG("no %s in %s", expected[i], r->out);
		}
	}
}

TEST_F(daemon, delay_set_by_another)
{
	const struct result *r;
	int a, b;

	if (!on_kernel())
		SKIP(return, "nobody else has a session of the builtin engine");
	START("pool_slots=1", "when_full=wait", "recycle_delay_ms=600000");
	a = client(self);
	ASSERT_TRUE(is_served(a));
	r = ctl_run("set %d recycle_delay_ms=100", session_id());
	ASSERT_EQ(0, r->status) TH_LOG("%s", r->err);
	close(a);
	b = client(self);
	EXPECT_TRUE(is_served(b));
	close(b);
}

TEST_F(daemon, drain_does_not_wait_for_ever)
{
	uint8_t frame[SLEEP_BYTES];
	uint64_t start;
	int fd;

	START("drain_timeout_ms=300");
	fd = client(self);
	ASSERT_TRUE(ask(fd, 600000, "a", frame) && work_reaches(self, "running", 1));
	start = now_ms();
	EXPECT_EQ(0, sockbeatd_stop(&self->d));
	EXPECT_LE(300, now_ms() - start);
	EXPECT_GE(10000, now_ms() - start);
	close(fd);
}

TEST_HARNESS_MAIN
