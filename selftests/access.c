// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who may see and command what: the table "Who may do what" of
 * Documentation/operations.md, a test for each row.  And what everybody may
 * see: totals, tracepoints.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "client.h"
#include "param.h"
#include "tcp.h"
#include "harness.h"

#define USER	1000
#define OTHER	1001

FIXTURE(access) {
	struct client user;	/* whose session it is */
	struct client c;	/* who holds it too, and gets the events */
	int session;
	uint32_t id;
	uint64_t handle;
	struct pair pair;
};

static int session_of(FIXTURE_DATA(access) *self, uid_t uid)
{
	struct session_reply r;

	if (seteuid(uid) || client_open(&self->user))
		return -1;
	self->session = client_session_new(&self->user, 16, 60000, 0, SOCKBEAT_TRIGGER_EDGE, &r);
	self->id = r.session.v[SOCKBEAT_A_SESSION_ID];
	if (self->session < 0 || seteuid(0) || client_open(&self->c))
		return -1;
	return client_session_bind(&self->c, self->session);
}

FIXTURE_SETUP(access)
{
	close(netns_new());
	ASSERT_EQ(0, tcp_pair(&self->pair));
	ASSERT_EQ(0, session_of(self, USER));
	ASSERT_EQ(0, client_add1(&self->c, self->session, self->pair.server, NULL, &self->handle));
}

FIXTURE_TEARDOWN(access)
{
	close(self->session);
	client_close(&self->user);
	client_close(&self->c);
	tcp_pair_close(&self->pair);
}

static struct nlmsghdr *by_id(struct client *c, uint8_t cmd, uint16_t flags, uint32_t id)
{
	struct nlmsghdr *nlh = client_msg(c, c->family, cmd, NLM_F_ACK | flags);

	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_ID, id);
	return nlh;
}

static void put_peer(struct nlmsghdr *nlh, uint64_t handle, uint16_t type, uint32_t value)
{
	struct nlattr *nest = mnl_attr_nest_start(nlh, SOCKBEAT_A_SESSION_PEER);

	mnl_attr_put_u64(nlh, SOCKBEAT_A_PEER_HANDLE, handle);
	if (type)
		mnl_attr_put_u32(nlh, type, value);
	mnl_attr_nest_end(nlh, nest);
}

static void count_messages(const struct nlmsghdr *nlh, void *arg)
{
	++*(int *)arg;
}

/* What a sender can do by a session's id, each as the errno it gets. */
struct answers {
	int get, set, peer_get, peer_set, end, recycle;
	int sessions, peers;	/* seen in dumps */
};

static struct answers ask(FIXTURE_DATA(access) *self)
{
	struct answers a = {};
	struct nlmsghdr *nlh;
	struct client c;

	if (client_open(&c)) {
		a.get = 1;
		return a;
	}
	a.get = client_talk(&c, by_id(&c, SOCKBEAT_CMD_SESSION_GET, 0, self->id), NULL, NULL);
	nlh = by_id(&c, SOCKBEAT_CMD_SESSION_SET, 0, self->id);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_RENOTIFY_MS, 7000);
	a.set = client_talk(&c, nlh, NULL, NULL);
	nlh = by_id(&c, SOCKBEAT_CMD_PEER_GET, 0, self->id);
	put_peer(nlh, self->handle, 0, 0);
	a.peer_get = client_talk(&c, nlh, NULL, NULL);
	nlh = by_id(&c, SOCKBEAT_CMD_PEER_SET, 0, self->id);
	put_peer(nlh, self->handle, SOCKBEAT_A_PEER_TIMEOUT_MS, 70000);
	a.peer_set = client_talk(&c, nlh, NULL, NULL);
	nlh = client_msg(&c, c.family, SOCKBEAT_CMD_SESSION_GET, NLM_F_DUMP);
	client_talk(&c, nlh, count_messages, &a.sessions);
	client_talk(&c, by_id(&c, SOCKBEAT_CMD_PEER_GET, NLM_F_DUMP, self->id), count_messages,
		    &a.peers);
	nlh = by_id(&c, SOCKBEAT_CMD_PEER_END, 0, self->id);
	put_peer(nlh, self->handle, SOCKBEAT_A_PEER_END, SOCKBEAT_END_NONE);
	a.end = client_talk(&c, nlh, NULL, NULL);
	nlh = by_id(&c, SOCKBEAT_CMD_PEER_RECYCLE, 0, self->id);
	put_peer(nlh, self->handle, SOCKBEAT_A_PEER_RECYCLE_DELAY_MS, 0);
	a.recycle = client_talk(&c, nlh, NULL, NULL);
	client_close(&c);
	return a;
}

#define EXPECT_ALL(a, errno_, seen) do {					\
	EXPECT_EQ(errno_, (a).get);						\
	EXPECT_EQ(errno_, (a).set);						\
	EXPECT_EQ(errno_, (a).peer_get);					\
	EXPECT_EQ(errno_, (a).peer_set);					\
	EXPECT_EQ(errno_, (a).end);						\
	EXPECT_EQ(errno_, (a).recycle);						\
	EXPECT_EQ(seen, (a).sessions);						\
	EXPECT_EQ(seen, (a).peers);						\
} while (0)

TEST_F(access, administrator)
{
	struct attrs peer;
	struct answers a;

	a = ask(self);
	EXPECT_ALL(a, 0, 1);
	/* Retired by another than its holder, the slot stays the holder's. */
	ASSERT_EQ(0, client_get(&self->c, self->session, self->handle, &peer));
	EXPECT_EQ(SOCKBEAT_STATE_RECYCLING, peer.v[SOCKBEAT_A_PEER_STATE]);
	EXPECT_TRUE(peer.has[SOCKBEAT_A_PEER_HOLD]);
}

TEST_F(access, the_same_user)
{
	struct answers a;

	ASSERT_EQ(0, seteuid(USER));
	a = ask(self);
	EXPECT_ALL(a, 0, 1);
	ASSERT_EQ(0, seteuid(0));
}

/* Another one is told what is told of a session that is not there. */
TEST_F(access, another_user)
{
	struct answers a;

	ASSERT_EQ(0, seteuid(OTHER));
	a = ask(self);
	EXPECT_ALL(a, -ENOENT, 0);
	ASSERT_EQ(0, seteuid(0));
	EXPECT_EQ(SOCKBEAT_STATE_LIVE, client_state(&self->c, self->session, self->handle));
}

/* Root of a user namespace is another user where it comes from. */
TEST_F(access, root_of_a_user_namespace)
{
	struct answers *a = mmap(NULL, sizeof(*a), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid;

	ASSERT_NE(MAP_FAILED, a);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (setresuid(OTHER, OTHER, OTHER) || prctl(PR_SET_DUMPABLE, 1) ||
		    unshare(CLONE_NEWUSER))
			_exit(2);
		*a = ask(self);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	if (WEXITSTATUS(status) == 2)
		SKIP(return, "no user namespaces");
	EXPECT_ALL(*a, -ENOENT, 0);
}

/* Nor does the administrator of another network namespace see it. */
TEST_F(access, another_network_namespace)
{
	int old = netns_new();
	struct answers a;

	ASSERT_LE(0, old);
	a = ask(self);
	EXPECT_ALL(a, -ENOENT, 0);
	ASSERT_EQ(0, netns_enter(old));
	close(old);
}

/* What gives a session something, or takes it over, wants its descriptor. */
TEST_F(access, id_is_no_descriptor)
{
	static const uint8_t cmds[] = { SOCKBEAT_CMD_SESSION_BIND, SOCKBEAT_CMD_PEER_ADD,
					SOCKBEAT_CMD_PEER_DEL, SOCKBEAT_CMD_RECYCLE_EXTEND,
					SOCKBEAT_CMD_PROFILE_SET, SOCKBEAT_CMD_PROFILE_DEL };
	struct attrs before, after;
	struct nlmsghdr *nlh;
	struct nlattr *nest;
	struct client c;
	unsigned int i;

	ASSERT_EQ(0, client_open(&c));
	for (i = 0; i < sizeof(cmds); i++) {
		nlh = by_id(&c, cmds[i], 0, self->id);
		EXPECT_EQ(-EINVAL, client_talk(&c, nlh, NULL, NULL)) TH_LOG("command %u", cmds[i]);
	}
	nlh = by_id(&c, SOCKBEAT_CMD_SESSION_GET, 0, self->id);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_FD, self->session);
	EXPECT_EQ(-EINVAL, client_talk(&c, nlh, NULL, NULL));
	EXPECT_STREQ("request names its session twice", c.why);
	/* What the holder works with is not changed under its feet. */
	ASSERT_EQ(0, client_get(&self->c, self->session, self->handle, &before));
	nlh = by_id(&c, SOCKBEAT_CMD_PEER_SET, 0, self->id);
	nest = mnl_attr_nest_start(nlh, SOCKBEAT_A_SESSION_PEER);
	mnl_attr_put_u64(nlh, SOCKBEAT_A_PEER_HANDLE, self->handle);
	mnl_attr_put_u64(nlh, SOCKBEAT_A_PEER_USER_DATA, ~before.v[SOCKBEAT_A_PEER_USER_DATA]);
	mnl_attr_nest_end(nlh, nest);
	EXPECT_EQ(-EINVAL, client_talk(&c, nlh, NULL, NULL));
	EXPECT_STREQ("request does not take this attribute of a peer", c.why);
	ASSERT_EQ(0, client_get(&self->c, self->session, self->handle, &after));
	EXPECT_EQ(before.v[SOCKBEAT_A_PEER_USER_DATA], after.v[SOCKBEAT_A_PEER_USER_DATA]);
	nlh = by_id(&c, SOCKBEAT_CMD_PEER_SET, 0, self->id);
	put_peer(nlh, self->handle, SOCKBEAT_A_PEER_PROFILE, 0);
	EXPECT_EQ(-EINVAL, client_talk(&c, nlh, NULL, NULL));
	client_close(&c);
}

/* Who watches a session is not what keeps it. */
TEST_F(access, a_dump_by_id_holds_nothing)
{
	struct client c;

	ASSERT_EQ(0, client_open(&c));
	mnl_socket_sendto(c.nl, c.tx, by_id(&c, SOCKBEAT_CMD_PEER_GET, NLM_F_DUMP,
					    self->id)->nlmsg_len);
	close(self->session);
	self->session = -1;
	EXPECT_EQ(-ENOENT, client_talk(&self->c, by_id(&self->c, SOCKBEAT_CMD_SESSION_GET, 0,
						       self->id), NULL, NULL));
	client_close(&c);
}

TEST_F(access, monitor)
{
	struct event ev, heard;
	struct client c;

	ASSERT_EQ(0, client_open(&c));
	ASSERT_EQ(0, client_monitor(&c));
	ASSERT_EQ(0, client_setting(&self->c, self->session, self->handle,
				    SOCKBEAT_A_PEER_TIMEOUT_MS, 100));
	ASSERT_TRUE(client_event(&c, &ev, 10000));
	EXPECT_EQ(SOCKBEAT_EVENT_KIND_SILENT, ev.kind);
	EXPECT_EQ(self->handle, ev.handle);
	ASSERT_TRUE(client_event(&self->c, &heard, 10000));
	EXPECT_EQ(ev.idle_ms, heard.idle_ms);
	client_close(&c);
}

TEST_F(access, monitor_is_the_administrators)
{
	struct client c;

	ASSERT_EQ(0, seteuid(OTHER));
	ASSERT_EQ(0, client_open(&c));
	EXPECT_EQ(-EPERM, client_monitor(&c));
	client_close(&c);
	ASSERT_EQ(0, seteuid(0));
}

/* Anyone may read them, nobody write; they outlive their sessions. */
TEST_F(access, totals)
{
	long added = counter_read("added"), live = counter_read("live");
	long sessions = counter_read("sessions");

	EXPECT_LE(1, added);
	EXPECT_LE(1, live);
	EXPECT_LE(1, sessions);
	ASSERT_EQ(0, seteuid(OTHER));
	EXPECT_EQ(added, counter_read("added"));
	ASSERT_EQ(0, seteuid(0));
	EXPECT_GT(0, open(COUNTERS "added", O_WRONLY));
	close(self->session);
	self->session = -1;
	EXPECT_EQ(added, counter_read("added"));
	EXPECT_EQ(live - 1, counter_read("live"));
	EXPECT_EQ(sessions - 1, counter_read("sessions"));
	EXPECT_EQ(counter_read("added"),
		  counter_read("live") + counter_read("silent") + counter_read("gone") +
		  counter_read("recycling") + counter_read("deleted") + counter_read("recycled"));
}

/* Filters of a dump, and what is said to wrong ones. */
TEST_F(access, filters)
{
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);
	static const struct { uint16_t type; uint32_t value; int seen; } rows[] = {
		{ SOCKBEAT_A_FILTER_FAMILY, AF_INET, 1 },
		{ SOCKBEAT_A_FILTER_FAMILY, AF_INET6, 0 },
		{ SOCKBEAT_A_FILTER_FAMILY, AF_UNIX, -EINVAL },
		{ SOCKBEAT_A_FILTER_LOCAL_PORT, 1, 0 },
		{ SOCKBEAT_A_FILTER_LOCAL_PORT, 65536, -ERANGE },
		{ SOCKBEAT_A_FILTER_REMOTE_PREFIX, 8, -EINVAL },
		{ SOCKBEAT_A_FILTER_REMOTE_PREFIX, 129, -ERANGE },
	};
	static const struct { int local_len, remote_len, prefix; const char *why; } ends[] = {
		{ 4, 5, 8, "4 or 16 bytes" }, { 4, 16, 8, "another family" },
		{ 4, 4, 33, "prefix is longer than the address" },
	};
	static const uint8_t bytes[16] = { 127, 0, 0, 1 };
	struct nlmsghdr *nlh;
	struct nlattr *nest;
	unsigned int i;
	int seen, err, prefix;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		nlh = by_id(&self->c, SOCKBEAT_CMD_PEER_GET, NLM_F_DUMP, self->id);
		nest = mnl_attr_nest_start(nlh, SOCKBEAT_A_SESSION_FILTER);
		mnl_attr_put_u32(nlh, rows[i].type, rows[i].value);
		mnl_attr_nest_end(nlh, nest);
		seen = 0;
		err = client_talk(&self->c, nlh, count_messages, &seen);
		EXPECT_EQ(rows[i].seen, err ? err : seen) TH_LOG("row %u", i);
	}
	for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		nlh = by_id(&self->c, SOCKBEAT_CMD_PEER_GET, NLM_F_DUMP, self->id);
		nest = mnl_attr_nest_start(nlh, SOCKBEAT_A_SESSION_FILTER);
		mnl_attr_put(nlh, SOCKBEAT_A_FILTER_LOCAL_ADDR, ends[i].local_len, bytes);
		mnl_attr_put(nlh, SOCKBEAT_A_FILTER_REMOTE_ADDR, ends[i].remote_len, bytes);
		mnl_attr_put_u32(nlh, SOCKBEAT_A_FILTER_REMOTE_PREFIX, ends[i].prefix);
		mnl_attr_nest_end(nlh, nest);
		EXPECT_EQ(-EINVAL, client_talk(&self->c, nlh, NULL, NULL)) TH_LOG("ends %u", i);
		/* The texts of dumps get lost in kernels before 6.2 or so. */
		EXPECT_TRUE(!*self->c.why || strstr(self->c.why, ends[i].why)) TH_LOG("%s", self->c.why);
	}
	getsockname(self->pair.server, (struct sockaddr *)&sa, &len);
	for (prefix = 8; prefix <= 32; prefix += 3) {
		uint32_t addr = htonl(INADDR_LOOPBACK ^ 2);

		nlh = by_id(&self->c, SOCKBEAT_CMD_PEER_GET, NLM_F_DUMP, self->id);
		nest = mnl_attr_nest_start(nlh, SOCKBEAT_A_SESSION_FILTER);
		mnl_attr_put(nlh, SOCKBEAT_A_FILTER_REMOTE_ADDR, 4, &addr);
		mnl_attr_put_u32(nlh, SOCKBEAT_A_FILTER_REMOTE_PREFIX, prefix);
		mnl_attr_put_u32(nlh, SOCKBEAT_A_FILTER_LOCAL_PORT, ntohs(sa.sin_port));
		mnl_attr_nest_end(nlh, nest);
		seen = 0;
		ASSERT_EQ(0, client_talk(&self->c, nlh, count_messages, &seen));
		/* They differ in the last bit but one. */
		EXPECT_EQ(prefix <= 30, seen) TH_LOG("prefix %d", prefix);
	}
}

/* The cookie is the one that `ss -e` and SO_COOKIE show. */
TEST_F(access, cookie)
{
	struct attrs peer = {};
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	ASSERT_EQ(0, client_get(&self->c, self->session, self->handle, &peer));
	EXPECT_NE(0, peer.v[SOCKBEAT_A_PEER_COOKIE]);
	ASSERT_EQ(0, getsockopt(self->pair.server, SOL_SOCKET, SO_COOKIE, &cookie, &len));
	EXPECT_EQ(cookie, peer.v[SOCKBEAT_A_PEER_COOKIE]);
}

#define TRACING	"/sys/kernel/tracing"

/* Each tracepoint tells of this peer. */
TEST_F(access, tracepoints)
{
	static const char *const events[] = { "add", "silent", "act", "gone", "recycle" };
	static char text[65536];
	char handle[32], *line;
	unsigned int i;
	struct pair pair;
	struct event ev;
	uint64_t peer;
	ssize_t len;
	int fd;

	if (access(TRACING "/events", F_OK) && sh("mount -t tracefs tracefs " TRACING))
		SKIP(return, "this kernel has no tracefs");
	ASSERT_EQ(0, sh("echo 1 >" TRACING "/events/sockbeat/enable"));
	ASSERT_EQ(0, tcp_pair(&pair));
	ASSERT_EQ(0, client_add1(&self->c, self->session, pair.server, NULL, &peer));
	ASSERT_EQ(0, client_setting(&self->c, self->session, peer, SOCKBEAT_A_PEER_ACTION,
				    SOCKBEAT_ACTION_ABORT));
	ASSERT_EQ(0, client_setting(&self->c, self->session, peer, SOCKBEAT_A_PEER_TIMEOUT_MS, 100));
	do {
		ASSERT_TRUE(client_event(&self->c, &ev, 10000));
	} while (ev.kind != SOCKBEAT_EVENT_KIND_GONE);
	ASSERT_EQ(0, client_recycle(&self->c, self->session, peer, 60000));
	ASSERT_EQ(0, sh("echo 0 >" TRACING "/events/sockbeat/enable"));
	fd = open(TRACING "/trace", O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	for (i = 0; i < sizeof(text) - 1; i += len) {
		len = read(fd, text + i, sizeof(text) - 1 - i);
		if (len <= 0)
			break;
	}
	close(fd);
	snprintf(handle, sizeof(handle), "handle=%#llx", (unsigned long long)peer);
	for (i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		char name[32];

		snprintf(name, sizeof(name), "sockbeat_%s: ", events[i]);
		line = strstr(text, name);
		EXPECT_TRUE(line && strstr(line, handle)) TH_LOG("%s in\n%s", name, text);
	}
	tcp_pair_close(&pair);
}

TEST_HARNESS_MAIN
