// SPDX-License-Identifier: GPL-2.0-only
/*
 * sockbeatctl on the module: what it prints to the byte, what it changes, and
 * what it says where it cannot. ctl_host.sh has what needs no module.
 */
#define _GNU_SOURCE
#include <jansson.h>
#include <sys/ioctl.h>
#include <termios.h>
#include "client.h"
#include "tcp.h"
#include "ctl.h"
#include "harness.h"

#define NOBODY		65534
#define CAPACITY	16
#define DELAY_MS	600000

/* Long enough for an emulated machine with sanitizers. */
#define PATIENCE_MS	20000

/* The peers, in the order of their slots. */
enum { LIVE, LIVE6, SILENT, GONE, RECYCLING, PEERS };

FIXTURE(ctl) {
	struct client c;
	struct client sink;
	int session;
	uint32_t id;
	struct pair pair[PEERS];
	uint64_t handle[PEERS];
	uint16_t local[PEERS];
	uint16_t remote[PEERS];
	char process[32];
	char out[OUT_BYTES];
};

static uint16_t port_of(int fd, bool remote)
{
	struct sockaddr_in6 sa;
	socklen_t len = sizeof(sa);

	if (remote ? getpeername(fd, (void *)&sa, &len) : getsockname(fd, (void *)&sa, &len))
		return 0;
	/* At the same place as in IPv4. */
	return ntohs(sa.sin6_port);
}

static bool wait_for_state(struct client *c, int session, uint64_t handle, int state)
{
	uint64_t until_ms = now_ms() + PATIENCE_MS;

	while (client_state(c, session, handle) != state) {
		if (now_ms() > until_ms)
			return false;
		usleep(10000);
	}
	return true;
}

FIXTURE_SETUP(ctl)
{
	struct peer_conf conf = { 60000, KEEP, KEEP, 0x1001 };
	struct session_reply r;

	if (access(ctl_path(), X_OK))
		SKIP(return, "there is no sockbeatctl");
	if (client_open(&self->c))
		SKIP(return, "the module is not loaded");
	ASSERT_EQ(0, client_open(&self->sink));
	self->session = client_session_new(&self->c, CAPACITY, 30000, 10000, SOCKBEAT_TRIGGER_LEVEL, &r);
	ASSERT_LE(0, self->session);
	self->id = r.session.v[SOCKBEAT_A_SESSION_ID];
	/* No event may stand between a request and its answer. */
	ASSERT_EQ(0, client_session_bind(&self->sink, self->session)) {
		TH_LOG("session %d: %s", self->session, self->sink.why);
	}
	for (int i = 0; i < PEERS; i++) {
		ASSERT_EQ(0, tcp_pairs(i == LIVE6 ? AF_INET6 : AF_INET, &self->pair[i], 1));
		conf.timeout_ms = i == SILENT ? 100 : 60000;
		conf.source = i == LIVE6 ? SOCKBEAT_SOURCE_EITHER : KEEP;
		conf.trigger = i == LIVE6 ? SOCKBEAT_TRIGGER_EDGE : KEEP;
		ASSERT_EQ(0, client_add1(&self->c, self->session, self->pair[i].server, &conf, &self->handle[i]));
		self->local[i] = port_of(self->pair[i].server, false);
		self->remote[i] = port_of(self->pair[i].server, true);
		conf.user_data++;
	}
	ASSERT_EQ(0, client_recycle(&self->c, self->session, self->handle[RECYCLING], DELAY_MS));
	close(self->pair[GONE].server);
	ASSERT_TRUE(wait_for_state(&self->c, self->session, self->handle[GONE], SOCKBEAT_STATE_GONE));
	ASSERT_TRUE(wait_for_state(&self->c, self->session, self->handle[SILENT], SOCKBEAT_STATE_SILENT));
	snprintf(self->process, sizeof(self->process), "ctl/%d", getpid());
}

FIXTURE_TEARDOWN(ctl)
{
	client_close(&self->c);
	client_close(&self->sink);
}

/* The columns, and the rows of peers. */

#define HEADER	"State        Idle-ms Timeout-ms Local                   Peer                    Handle       Session Process\n"

static const char *row(FIXTURE_DATA(ctl) *self, int i)
{
	static const char *const states[] = { "live", "live", "silent", "gone", "recycling" };
	static char rows[PEERS][256];
	char ends[2][64] = { "-", "-" };
	const char *addr = i == LIVE6 ? "[::1]" : "127.0.0.1";

	if (i < GONE) {
		snprintf(ends[0], sizeof(ends[0]), "%s:%u", addr, self->local[i]);
		snprintf(ends[1], sizeof(ends[1]), "%s:%u", addr, self->remote[i]);
	}
	snprintf(rows[i], sizeof(rows[i]), "%-9s%s%11s %-23s %-23s 1:%-10x %7u %s\n", states[i],
		 i == RECYCLING ? "          -" : "#",
		 i == RECYCLING ? "-" : i == SILENT ? "100" : "60000", ends[0], ends[1], i, self->id,
		 self->process);
	return rows[i];
}

/* Those of the mask. */
static const char *rows(FIXTURE_DATA(ctl) *self, unsigned int mask)
{
	self->out[0] = '\0';
	for (int i = 0; i < PEERS; i++) {
		if (mask & 1 << i)
			strcat(self->out, row(self, i));
	}
	return self->out;
}

static bool is_json(const char *text)
{
	json_t *value = json_loads(text, 0, NULL);

	json_decref(value);
	return value;
}

TEST_F(ctl, list_text)
{
	char expected[OUT_BYTES] = HEADER;
	const struct result *r;

	strcat(expected, rows(self, 31));
	EXPECT_CTL(0, expected, "", "list");
	EXPECT_CTL(0, rows(self, 31), "", "list -H");
	/* The columns begin where they are said to. */
	r = ctl_run("list -H state=silent");
	EXPECT_EQ(0, strncmp(r->out + 32, "127.0.0.1:", 10));
	EXPECT_EQ(0, strncmp(r->out + 80, "1:2 ", 4));
}

static const char *json_row(FIXTURE_DATA(ctl) *self, int i)
{
	static char text[1024];
	char process[128], ends[256] = "";
	const char *addr = i == LIVE6 ? "::1" : "127.0.0.1";

	snprintf(process, sizeof(process), "\"session\":%u,\"pid\":%d,\"process\":\"ctl\"", self->id, getpid());
	if (i == RECYCLING) {
		snprintf(text, sizeof(text),
			 "{%s,\"handle\":\"1:4\",\"state\":\"recycling\",\"suspect\":false,\"left_ms\":#,"
			 "\"hold\":false,\"user_data\":\"0x1005\"}", process);
		return text;
	}
	if (i < GONE)
		snprintf(ends, sizeof(ends), "\"tcp_state\":\"ESTABLISHED\",\"family\":\"inet%s\","
			 "\"local_addr\":\"%s\",\"local_port\":%u,\"remote_addr\":\"%s\","
			 "\"remote_port\":%u,\"cookie\":#,", i == LIVE6 ? "6" : "", addr,
			 self->local[i], addr, self->remote[i]);
	snprintf(text, sizeof(text), "{%s,\"handle\":\"1:%d\",\"state\":\"%s\",\"suspect\":false,"
		 "\"idle_ms\":#,\"limit_ms\":%s,\"hold\":false,%s\"user_data\":\"0x%x\","
		 "\"timeout_ms\":%s,\"renotify_ms\":10000,\"source\":\"%s\",\"trigger\":\"%s\","
		 "\"action\":\"notify\",\"act_after_ms\":0,\"suspect_percent\":0}", process, i,
		 i == SILENT ? "silent" : i == GONE ? "gone" : "live", i == SILENT ? "100" : "60000",
		 ends, 0x1001 + i, i == SILENT ? "100" : "60000", i == LIVE6 ? "either" : "activity",
		 i == LIVE6 ? "edge" : "level");
	return text;
}

TEST_F(ctl, list_json)
{
	strcpy(self->out, "[");
	for (int i = 0; i < PEERS; i++) {
		strcat(self->out, i ? ",\n" : "\n");
		strcat(self->out, json_row(self, i));
	}
	strcat(self->out, "\n]\n");
	EXPECT_CTL(0, self->out, "", "list -j");
	EXPECT_TRUE(is_json(ctl_run("list -j")->out));
	EXPECT_CTL(0, "[]\n", "", "list -j state=silent idle=100h");
}

TEST_F(ctl, filters)
{
	char port[64];

	EXPECT_CTL(0, rows(self, 1 << SILENT), "", "list -H state=silent");
	EXPECT_CTL(0, rows(self, 1 << GONE | 1 << RECYCLING), "", "list -H state=gone,recycling");
	EXPECT_CTL(0, rows(self, 1 << LIVE6), "", "list -H -6");
	EXPECT_CTL(0, rows(self, 1 << LIVE6), "", "list -H family=inet6");
	EXPECT_CTL(0, rows(self, 1 << LIVE | 1 << SILENT), "", "list -H -4");
	EXPECT_CTL(0, rows(self, 1 << LIVE | 1 << SILENT), "", "list -H remote=127.0.0.0/8");
	EXPECT_CTL(0, rows(self, 1 << LIVE | 1 << SILENT), "", "list -H remote=::ffff:127.0.0.0/104");
	EXPECT_CTL(0, "", "", "list -H remote=128.0.0.0/8");
	EXPECT_CTL(0, rows(self, 1 << LIVE | 1 << SILENT), "", "list -H remote=128.0.0.0/0");
	EXPECT_CTL(0, rows(self, 1 << LIVE6), "", "list -H remote=::/64");
	EXPECT_CTL(0, rows(self, 1 << LIVE6), "", "list -H remote=::1");
	EXPECT_CTL(0, rows(self, 1 << LIVE6), "", "list -H 'local=[::1]:%u'", self->local[LIVE6]);
	EXPECT_CTL(0, rows(self, 1 << LIVE6), "", "list -H 'local=[::/16]:%u'", self->local[LIVE6]);
	EXPECT_CTL(0, rows(self, 1 << LIVE6), "", "list -H 'local=[::]/16:%u'", self->local[LIVE6]);
	EXPECT_CTL(0, rows(self, 1 << LIVE6), "", "list -H 'local=[::]/16'");
	snprintf(port, sizeof(port), "local=:%u 'remote=*:%u'", self->local[LIVE], self->remote[LIVE]);
	EXPECT_CTL(0, rows(self, 1 << LIVE), "", "list -H %s", port);
	EXPECT_CTL(0, rows(self, 1 << LIVE), "", "list -H local=127.0.0.1:%u", self->local[LIVE]);
	EXPECT_CTL(0, rows(self, 1 << LIVE), "", "list -H local=127.0.0.0/8:%u remote=:%u", self->local[LIVE],
		   self->remote[LIVE]);
	EXPECT_CTL(0, "", "", "list -H local=:%u remote=:%u", self->local[LIVE], self->remote[SILENT]);
	EXPECT_CTL(0, rows(self, 15), "", "list -H idle=1");
	EXPECT_CTL(0, "", "", "list -H idle=2m");
	EXPECT_CTL(0, rows(self, 31), "", "list -H session=%u", self->id);
	EXPECT_CTL(0, rows(self, 31), "", "list -H pid=%d", getpid());
	EXPECT_CTL(0, rows(self, 3), "", "list -H process=ctl state=live session=%u pid=%d", self->id, getpid());
	EXPECT_CTL(1, "", "sockbeatctl: no session that you may see is of this process\n", "list -H pid=1");
	EXPECT_CTL(1, "", "sockbeatctl: no session that you may see is of this process\n", "list -H process=ct");
}

TEST_F(ctl, filter_by_session)
{
	struct session_reply r;
	uint64_t handle;
	int session;

	session = client_session_new(&self->c, 1, 5000, 0, SOCKBEAT_TRIGGER_LEVEL, &r);
	ASSERT_LE(0, session);
	ASSERT_EQ(0, client_add1(&self->c, session, self->pair[LIVE].client, NULL, &handle));
	EXPECT_EQ(6, count_lines(ctl_run("list -H")->out));
	EXPECT_EQ(1, count_lines(ctl_run("list -H session=%u", (uint32_t)r.session.v[SOCKBEAT_A_SESSION_ID])->out));
	EXPECT_CTL(0, rows(self, 31), "", "list -H session=%u", self->id);
	/* Two sessions have this handle, and only one has that. */
	EXPECT_EQ(1, ctl_run("show 1:0")->status);
	EXPECT_EQ(0, ctl_run("show 1:1")->status);
	EXPECT_EQ(0, ctl_run("show -s %u 1:0", self->id)->status);
	close(session);
}

TEST_F(ctl, show)
{
	char expected[2048];

	snprintf(expected, sizeof(expected),
		 "session          %u\n" "process          %s\n" "handle           1:1\n"
		 "state            live\n" "suspect          no\n" "idle_ms#\n"
		 "limit_ms         60000\n" "hold             no\n" "tcp_state        ESTABLISHED\n"
		 "family           inet6\n" "local_addr       ::1\n" "local_port       %u\n"
		 "remote_addr      ::1\n" "remote_port      %u\n" "cookie#\n"
		 "user_data        0x1002\n" "timeout_ms       60000\n" "renotify_ms      10000\n"
		 "source           either\n" "trigger          edge\n" "action           notify\n"
		 "act_after_ms     0\n" "suspect_percent  0\n", self->id, self->process,
		 self->local[LIVE6], self->remote[LIVE6]);
	EXPECT_CTL(0, expected, "", "show 1:1");
	EXPECT_CTL(0, expected, "", "show 0x100000001");
	EXPECT_CTL(0, expected, "", "show -s %u 1:1", self->id);
	snprintf(expected, sizeof(expected), "%s\n", json_row(self, RECYCLING));
	EXPECT_CTL(0, expected, "", "show -j 1:4");
	EXPECT_CTL(1, "", "sockbeatctl: 2:1: no peer has this handle\n", "show 2:1");
	EXPECT_CTL(1, "", "sockbeatctl: 1:f: no peer has this handle\n", "show 1:F");
	EXPECT_CTL(1, "", "sockbeatctl: session 4000000000: no session has this id\n", "show -s 4000000000 1:1");
}

#define SETTINGS \
	"timeout_ms=30000 renotify_ms=10000 source=activity trigger=level recycle_delay_ms=# action=notify " \
	"act_after_ms=# suspect_percent=0 adaptive_beats=0 adaptive_min_ms=# guard_percent=# guard_window_ms=#"

TEST_F(ctl, sessions)
{
	char expected[4096];
	const char *json;

	snprintf(expected, sizeof(expected),
		 "Session     Pid Process           Uid Capacity     Live   Silent     Gone Recycling Guard    Settings\n"
		 "%-7u %7d ctl                 0       16        2        1        1         1 off      " SETTINGS "\n",
		 self->id, getpid());
	EXPECT_CTL(0, expected, "", "sessions");
	EXPECT_CTL(0, expected, "", "sessions %u", self->id);
	EXPECT_CTL(0, strchr(expected, '\n') + 1, "", "sessions -H");
	EXPECT_CTL(0, "", "", "set %u guard_percent=50", self->id);
	EXPECT_NE(NULL, strstr(ctl_run("sessions")->out, " on       timeout_ms="));
	json = ctl_run("sessions -j")->out;
	EXPECT_TRUE(is_json(json));
	snprintf(expected, sizeof(expected),
		 "[\n{\"session\":%u,\"process\":\"ctl\",\"pid\":%d,\"uid\":0,\"capacity\":16,\"guarding\":false,"
		 "\"tick_ms\":#,\"port\":#,\"clock_ms\":#,\"timeout_ms\":30000,\"renotify_ms\":10000,"
		 "\"source\":\"activity\",\"trigger\":\"level\",\"recycle_delay_ms\":#,\"action\":\"notify\","
		 "\"act_after_ms\":#,\"suspect_percent\":0,\"adaptive_beats\":0,\"adaptive_min_ms\":#,"
		 "\"guard_percent\":50,\"guard_window_ms\":#,\"stats\":{\"live\":2,\"silent\":1,", self->id, getpid());
	strcpy(self->out, json);
	*strstr(self->out, "\"gone\"") = '\0';
	EXPECT_TRUE(fits(expected, self->out)) {
		TH_LOG("expected:\n%s\ngot:\n%s", expected, json);
	}
}

/* What varies is what time does: ticks, and events that were told again. */
#define STATS(sep, end) \
	"live" sep "2" end "silent" sep "1" end "gone" sep "1" end "recycling" sep "1" end "added" sep "5" end \
	"deleted" sep "0" end "silences" sep "1" end "recoveries" sep "0" end "suspects" sep "0" end \
	"sockets_gone" sep "1" end "recycles" sep "1" end "recycled" sep "0" end "events" sep "#" end \
	"messages" sep "#" end "deferrals" sep "#" end "bad_stamps" sep "0" end "shutdowns" sep "0" end \
	"aborts" sep "0" end "acts_deferred" sep "0" end "acts_guarded" sep "0" end "guards" sep "0" end \
	"ticks" sep "#" end "tick_ns" sep "#" end "checks" sep "#" end "postponed" sep "0" end \
	"answered" sep "0" end "pass_data" sep "0" end "pass_partial" sep "0" end "pass_position" sep "0" end \
	"pass_queue" sep "0" end "pass_owned" sep "0" end "pass_memory" sep "0" end "pass_rate" sep "0" end \
	"pass_state" sep "0" end "pass_foreign" sep "0" end "probes" sep "0" end "probes_answered" sep "0" end \
	"probes_skipped" sep "0"

/* Spaces to one, so that the golden text can be one for both forms. */
static char *squeeze(char *text)
{
	char *to = text;

	for (char *from = text; *from; from++) {
		if (*from != ' ' || to == text || to[-1] != ' ')
			*to++ = *from;
	}
	*to = '\0';
	return text;
}

TEST_F(ctl, stats)
{
	char expected[4096];
	const struct result *r;

	snprintf(expected, sizeof(expected), "session %u\n" STATS(" ", "\n") "\n", self->id);
	r = ctl_run("stats %u", self->id);
	EXPECT_EQ(0, r->status);
	EXPECT_EQ(0, strncmp(r->out, "session          ", 17));
	strcpy(self->out, r->out);
	EXPECT_TRUE(fits(expected, squeeze(self->out))) {
		TH_LOG("expected:\n%s\ngot:\n%s", expected, self->out);
	}
	snprintf(expected, sizeof(expected), "{\"session\":%u,\"" STATS("\":", ",\"") "}\n", self->id);
	EXPECT_CTL(0, expected, "", "stats -j %u", self->id);
	EXPECT_CTL(1, "", "sockbeatctl: session 77777: no session has this id\n", "stats 77777");
}

TEST_F(ctl, stats_are_summed)
{
	struct session_reply r;
	uint64_t handle;
	int session;

	session = client_session_new(&self->c, 1, 5000, 0, SOCKBEAT_TRIGGER_LEVEL, &r);
	ASSERT_LE(0, session);
	ASSERT_EQ(0, client_add1(&self->c, session, self->pair[LIVE].client, NULL, &handle));
	strcpy(self->out, ctl_run("stats")->out);
	squeeze(self->out);
	EXPECT_EQ(0, strncmp(self->out, "sessions 2\nlive 3\nsilent 1\ngone 1\nrecycling 1\nadded 6\n", 54));
	close(session);
}

TEST_F(ctl, set)
{
	struct session_reply r;
	struct attrs peer;

	EXPECT_CTL(0, "", "", "set %u timeout_ms=7000 trigger=edge guard-percent=20", self->id);
	ASSERT_EQ(0, client_session_get(&self->c, self->session, &r));
	EXPECT_EQ(7000, r.session.v[SOCKBEAT_A_SESSION_TIMEOUT_MS]);
	EXPECT_EQ(SOCKBEAT_TRIGGER_EDGE, r.session.v[SOCKBEAT_A_SESSION_TRIGGER]);
	EXPECT_EQ(20, r.session.v[SOCKBEAT_A_SESSION_GUARD_PERCENT]);
	EXPECT_EQ(10000, r.session.v[SOCKBEAT_A_SESSION_RENOTIFY_MS]);

	EXPECT_CTL(0, "", "", "set %u 1:0 timeout_ms=604800000 action=abort act_after_ms=500", self->id);
	ASSERT_EQ(0, client_get(&self->c, self->session, self->handle[LIVE], &peer));
	EXPECT_EQ(604800000, peer.v[SOCKBEAT_A_PEER_TIMEOUT_MS]);
	EXPECT_EQ(SOCKBEAT_ACTION_ABORT, peer.v[SOCKBEAT_A_PEER_ACTION]);
	EXPECT_EQ(500, peer.v[SOCKBEAT_A_PEER_ACT_AFTER_MS]);
	/* The others are as they were. */
	ASSERT_EQ(0, client_get(&self->c, self->session, self->handle[LIVE6], &peer));
	EXPECT_EQ(60000, peer.v[SOCKBEAT_A_PEER_TIMEOUT_MS]);
	EXPECT_EQ(0x1002, peer.v[SOCKBEAT_A_PEER_USER_DATA]);

	/* What `sessions` prints is what `set` takes. */
	strcpy(self->out, ctl_run("sessions -H")->out);
	EXPECT_CTL(0, "", "", "set %u %s", self->id, strtok(strstr(self->out, "timeout_ms"), "\n"));
}

TEST_F(ctl, set_wrong)
{
	struct session_reply r;
	struct attrs peer;
	char expected[256];

	EXPECT_CTL(1, "", "sockbeatctl: timeout_ms=99: integer out of range (100..604800000)\n",
		   "set %u trigger=edge timeout_ms=99", self->id);
	EXPECT_CTL(1, "", "sockbeatctl: guard_percent=101: integer out of range (0..100)\n",
		   "set %u trigger=edge guard_percent=101", self->id);
	ASSERT_EQ(0, client_session_get(&self->c, self->session, &r));
	EXPECT_EQ(SOCKBEAT_TRIGGER_LEVEL, r.session.v[SOCKBEAT_A_SESSION_TRIGGER]);
	EXPECT_CTL(1, "", "sockbeatctl: suspect_percent=100: integer out of range (0..99)\n",
		   "set %u 1:0 timeout_ms=5000 suspect_percent=100", self->id);
	EXPECT_CTL(1, "", "sockbeatctl: timeout_ms=604800001: integer out of range (100..604800000)\n",
		   "set %u 1:0 timeout_ms=604800001", self->id);
	ASSERT_EQ(0, client_get(&self->c, self->session, self->handle[LIVE], &peer));
	EXPECT_EQ(60000, peer.v[SOCKBEAT_A_PEER_TIMEOUT_MS]);
	EXPECT_EQ(2, ctl_run("set %u 1:0 timeout_ms=4294967296", self->id)->status);
	snprintf(expected, sizeof(expected), "sockbeatctl: session %u: 9:0: no peer has this handle\n", self->id);
	EXPECT_CTL(1, "", expected, "set %u 9:0 timeout_ms=5000", self->id);
	snprintf(expected, sizeof(expected), "sockbeatctl: session %u: 1:4: peer is in quarantine\n", self->id);
	EXPECT_CTL(1, "", expected, "set %u 1:4 timeout_ms=5000", self->id);
	EXPECT_CTL(1, "", "sockbeatctl: session 77777: no session has this id\n", "set 77777 timeout_ms=5000");
	EXPECT_CTL(1, "", "sockbeatctl: session 77777: no session has this id\n", "set 77777 1:0 timeout_ms=5000");
}

/* Events of a peer, whatever else comes. */
static bool is_told(FIXTURE_DATA(ctl) *self, uint64_t handle, uint32_t kind)
{
	uint64_t until_ms = now_ms() + PATIENCE_MS;
	struct event event;

	while (now_ms() < until_ms) {
		if (client_event(&self->sink, &event, 1000) && event.handle == handle && event.kind == kind)
			return true;
	}
	return false;
}

TEST_F(ctl, abort)
{
	char byte, expected[256];

	snprintf(expected, sizeof(expected), "sockbeatctl: session %u: 9:0: no peer has this handle\n", self->id);
	EXPECT_CTL(1, "", expected, "abort %u 1:0 1:1 9:0", self->id);
	EXPECT_CTL(1, "", "sockbeatctl: session 77777: no session has this id\n", "abort 77777 1:0");
	/* All or none. */
	EXPECT_EQ(SOCKBEAT_STATE_LIVE, client_state(&self->c, self->session, self->handle[LIVE]));
	EXPECT_EQ(-1, recv(self->pair[LIVE].server, &byte, 1, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);

	EXPECT_CTL(0, "", "", "abort %u 1:0 1:1", self->id);
	for (int i = LIVE; i <= LIVE6; i++) {
		EXPECT_EQ(-1, recv(self->pair[i].server, &byte, 1, 0));
		EXPECT_EQ(ECONNABORTED, errno);
		EXPECT_EQ(-1, recv(self->pair[i].client, &byte, 1, 0));
		EXPECT_EQ(ECONNRESET, errno);
		EXPECT_TRUE(is_told(self, self->handle[i], SOCKBEAT_EVENT_KIND_GONE));
		EXPECT_EQ(SOCKBEAT_STATE_GONE, client_state(&self->c, self->session, self->handle[i]));
	}
}

TEST_F(ctl, recycle)
{
	struct attrs peer;
	char byte;

	EXPECT_CTL(0, "", "", "recycle -d 500000 %u 1:0", self->id);
	ASSERT_EQ(0, client_get(&self->c, self->session, self->handle[LIVE], &peer));
	EXPECT_EQ(SOCKBEAT_STATE_RECYCLING, peer.v[SOCKBEAT_A_PEER_STATE]);
	EXPECT_TRUE(peer.has[SOCKBEAT_A_PEER_HOLD]);
	EXPECT_LT(400000, peer.v[SOCKBEAT_A_PEER_LEFT_MS]);
	EXPECT_GE(500001, peer.v[SOCKBEAT_A_PEER_LEFT_MS]);
	/* Nothing was done to the socket. */
	EXPECT_EQ(1, send(self->pair[LIVE].client, "x", 1, 0));
	EXPECT_EQ(1, recv(self->pair[LIVE].server, &byte, 1, 0));

	EXPECT_CTL(0, "", "", "recycle --end shutdown %u 1:1", self->id);
	EXPECT_EQ(0, recv(self->pair[LIVE6].client, &byte, 1, 0));
	EXPECT_CTL(0, "", "", "recycle -d 0 --end abort %u 0x100000002", self->id);
	EXPECT_EQ(-1, recv(self->pair[SILENT].client, &byte, 1, 0));
	EXPECT_EQ(ECONNRESET, errno);
	/* Their holder gives them back, not we. */
	EXPECT_TRUE(is_told(self, self->handle[SILENT], SOCKBEAT_EVENT_KIND_RECYCLED));
	EXPECT_EQ(SOCKBEAT_STATE_RECYCLING, client_state(&self->c, self->session, self->handle[SILENT]));
	EXPECT_EQ(1, ctl_run("recycle %u 1:0", self->id)->status);
	EXPECT_NE(NULL, strstr(ctl_run("recycle %u 1:0", self->id)->err, "1:0: peer is in quarantine"));
}

/* Who may see nothing is told nothing, not even that there is something. */
TEST_F(ctl, another_user)
{
	EXPECT_CTL_AS(NOBODY, 0, HEADER, "", "list");
	EXPECT_CTL_AS(NOBODY, 0, "[]\n", "", "sessions -j");
	EXPECT_CTL_AS(NOBODY, 1, "", "sockbeatctl: 1:0: no peer has this handle\n", "show 1:0");
	EXPECT_CTL_AS(NOBODY, 1, "", "sockbeatctl: no session that you may see is of this process\n",
		      "list -H pid=%d", getpid());
	strcpy(self->out, ctl_as(NOBODY, "set %u timeout_ms=5000", self->id)->err);
	EXPECT_NE(NULL, strstr(self->out, "no session has this id"));
	EXPECT_EQ(1, ctl_as(NOBODY, "set %u timeout_ms=5000", self->id)->status);
	EXPECT_EQ(1, ctl_as(NOBODY, "abort %u 1:0", self->id)->status);
	EXPECT_EQ(1, ctl_as(NOBODY, "recycle %u 1:0", self->id)->status);
	EXPECT_EQ(1, ctl_as(NOBODY, "list session=%u", self->id)->status);
	EXPECT_EQ(SOCKBEAT_STATE_LIVE, client_state(&self->c, self->session, self->handle[LIVE]));
	EXPECT_CTL_AS(NOBODY, 1, "", "sockbeatctl: monitor: Operation not permitted: it takes CAP_NET_ADMIN\n",
		      "monitor -n 1");
}

/* Their own they may see, and command. */
static int run_as_nobody(const char *comm)
{
	struct session_reply r;
	const struct result *result;
	char expected[64];
	struct client c;

	prctl(PR_SET_NAME, comm);
	if (setgid(NOBODY) || setuid(NOBODY) || client_open(&c) ||
	    client_session_new(&c, 1, 0, 0, SOCKBEAT_TRIGGER_LEVEL, &r) < 0)
		return 1;
	snprintf(expected, sizeof(expected), "%u#", (uint32_t)r.session.v[SOCKBEAT_A_SESSION_ID]);
	result = ctl_run("sessions -H");
	/* One, which is shown as one word whatever its name is. */
	if (result->status || count_lines(result->out) != 1 || !strstr(result->out, " a?b?65534? "))
		return 2;
	if (ctl_run("set %u timeout_ms=5000", (uint32_t)r.session.v[SOCKBEAT_A_SESSION_ID])->status)
		return 3;
	return !strstr(ctl_run("sessions -H")->out, "timeout_ms=5000 ") ? 4 : 0;
}

TEST_F(ctl, a_user_and_his_own)
{
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(run_as_nobody("a b\n65534\x7f"));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, WEXITSTATUS(status));
}

TEST_F(ctl, top)
{
	char expected[2048], *second;
	const struct result *r;

	snprintf(expected, sizeof(expected), "%-7u %-22s        2        1        1          1         0.0        0.0",
		 self->id, self->process);
	r = ctl_run("top -b -n 2 -d 0.3");
	EXPECT_EQ(0, r->status);
	EXPECT_STREQ("", r->err);
	EXPECT_EQ(8, count_lines(r->out));
	EXPECT_EQ(0, strncmp(r->out, "sockbeatctl top - ", 18));
	EXPECT_NE(NULL, strstr(r->out, expected)) {
		TH_LOG("expected:\n%s\ngot:\n%s", expected, r->out);
	}
	second = strstr(r->out, "\n\n");
	ASSERT_NE(NULL, second);
	EXPECT_EQ(0, strncmp(second + 2, "sockbeatctl top - ", 18));
	EXPECT_NE(NULL, strstr(second, expected));
	/* No terminal, no escapes. */
	EXPECT_EQ(NULL, strchr(r->out, '\033'));
	EXPECT_EQ(NULL, strchr(ctl_run("top -n 1 -d 0.1")->out, '\033'));
}

/* On a terminal it draws over itself, and no more than fits. */
TEST_F(ctl, top_on_a_terminal)
{
	struct winsize size = { .ws_row = 3, .ws_col = 80 };
	int terminal = posix_openpt(O_RDWR | O_NOCTTY), slave, len = 0, got, shown = 0;
	const char *at;
	pid_t pid;

	ASSERT_LE(0, terminal);
	ASSERT_EQ(0, grantpt(terminal) | unlockpt(terminal) | ioctl(terminal, TIOCSWINSZ, &size));
	slave = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
	ASSERT_LE(0, slave);
	client_session_new(&self->c, 1, 0, 0, SOCKBEAT_TRIGGER_LEVEL, NULL);
	pid = ctl_spawn(0, slave, STDERR_FILENO, "top -n 2 -d 0.2");
	close(slave);
	while ((got = read(terminal, self->out + len, sizeof(self->out) - 1 - len)) > 0)
		len += got;
	self->out[len] = '\0';
	waitpid(pid, NULL, 0);
	close(terminal);
	EXPECT_EQ(0, strncmp(self->out, "\033[H\033[2J\033[Hsockbeatctl top - ", 28));
	EXPECT_NE(NULL, strstr(self->out, " s\033[K\r\nSession "));
	EXPECT_NE(NULL, strstr(self->out, "Guard\033[K\r\n"));
	/* Of the two sessions one fits, on each of two screens. */
	for (at = self->out; (at = strstr(at, self->process)); at++)
		shown++;
	EXPECT_EQ(2, shown);
	/* Screens of three lines, of which the last has no end, and the end. */
	EXPECT_EQ(5, count_lines(self->out)) {
		TH_LOG("got:\n%s", self->out);
	}
}

/* A socket that goes between two samples is seen as a rate, and only then. */
TEST_F(ctl, top_shows_rates)
{
	double answered, silences, gone, events, sum = 0;
	unsigned int id, frames = 0;
	char line[256];
	int out[2];
	pid_t pid;
	FILE *f;

	ASSERT_EQ(0, pipe2(out, O_CLOEXEC));
	pid = ctl_spawn(0, out[1], STDERR_FILENO, "top -b -n 3 -d 1");
	close(out[1]);
	f = fdopen(out[0], "r");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%u %*s %*u %*u %*u %*u %lf %lf %lf %lf", &id, &answered, &silences, &gone,
			   &events) != 5)
			continue;
		EXPECT_EQ(self->id, id);
		EXPECT_EQ(0, answered);
		if (!frames++) {
			EXPECT_EQ(0, gone);
			tcp_abort(self->pair[LIVE].server);
		}
		sum += gone;
	}
	EXPECT_EQ(3, frames);
	/* One in a second, or in a little more. */
	EXPECT_LT(0.3, sum);
	EXPECT_GE(1.0, sum);
	fclose(f);
	waitpid(pid, NULL, 0);
}

TEST_HARNESS_MAIN
