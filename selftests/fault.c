// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every allocation fails once: those of a request in turn, those of the
 * module's own work at random.  A request then says so and has changed nothing,
 * what was to be told is told later, and nothing is lost.
 *
 * For kernels with fault injection, as that of `make check-debug` is.  With
 * SOCKBEAT_TEST_SITES, a file that lists the calls in the module that allocate,
 * each of them fails once by its place, too.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <sched.h>
#include <sys/mman.h>
#include "client.h"
#include "tcp.h"
#include "kmsg.h"
#include "param.h"
#include "harness.h"

#define DEBUG	"/sys/kernel/debug/"

static const char *const kinds[] = { "failslab", "fail_page_alloc" };

#define PEERS	40
#define REPLY_BYTES	64

/* Write a number to a file of both kinds of faults, without a process that would
 * be delayed by them.
 */
static int put_faults(const char *name, unsigned long value)
{
	char path[128], text[32];
	int i, err = 0;

	snprintf(text, sizeof(text), "%lu", value);
	for (i = 0; i < 2 && !err; i++) {
		snprintf(path, sizeof(path), DEBUG "%s/%s", kinds[i], name);
		err = file_write(path, text);
	}
	return err;
}

/* Make ready for faults, so many at most, where a backtrace has an address from
 * @start to before @end: of this task's allocations, or anyone's.
 */
static int fault_where(unsigned long start, unsigned long end, int times, bool by_anyone)
{
	if (put_faults("probability", 0) || put_faults("interval", 1) || put_faults("times", times) ||
	    put_faults("space", 0) || put_faults("verbose", 0) || put_faults("task-filter", !by_anyone))
		return -1;
	return put_faults("require-start", start) || put_faults("require-end", end) ? -1 : 0;
}

FIXTURE(fault) {
	struct client c;	/* requests */
	struct client sink;	/* events */
	struct pair pair[PEERS];
	int session;
	uint32_t id;
	int nth;		/* /proc/thread-self/fail-nth */
};

FIXTURE_SETUP(fault)
{
	struct session_reply r;

	self->nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (self->nth < 0)
		SKIP(return, "this kernel injects no faults");
	ASSERT_EQ(0, put_faults("ignore-gfp-wait", 0));
	ASSERT_EQ(0, put_faults("verbose_ratelimit_interval_ms", 0));
	ASSERT_EQ(0, file_write(DEBUG "fail_page_alloc/min-order", "0"));
	ASSERT_EQ(0, kmsg_begin());
	ASSERT_EQ(0, client_open(&self->c));
	ASSERT_EQ(0, client_open(&self->sink));
	ASSERT_EQ(0, tcp_pairs(AF_INET, self->pair, PEERS));
	self->session = client_session_new(&self->sink, PEERS, 600000, 0, SOCKBEAT_TRIGGER_EDGE, &r);
	ASSERT_LE(0, self->session);
	self->id = r.session.v[SOCKBEAT_A_SESSION_ID];
}

FIXTURE_TEARDOWN(fault)
{
	int i;

	if (self->nth < 0)
		return;
	EXPECT_EQ(0, kmsg_end());
	close(self->session);
	for (i = 0; i < PEERS; i++)
		tcp_pair_close(&self->pair[i]);
	client_close(&self->c);
	client_close(&self->sink);
	close(self->nth);
}

static void set_nth(FIXTURE_DATA(fault) *self, int n)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", n);
	if (pwrite(self->nth, text, strlen(text), 0) < 0)
		perror("fail-nth");
}

/* Whether the allocation that was to fail was reached. */
static bool was_reached(FIXTURE_DATA(fault) *self)
{
	char text[16] = {};

	if (pread(self->nth, text, sizeof(text) - 1, 0) < 0)
		perror("fail-nth");
	set_nth(self, 0);
	return !atoi(text);
}

/* What of a session an error may not change. */
struct picture {
	uint64_t session[64], stats[64];
};

static void take_picture(struct __test_metadata *_metadata, FIXTURE_DATA(fault) *self,
			 struct picture *p)
{
	struct session_reply r;
	unsigned int i;

	memset(p, 0, sizeof(*p));
	ASSERT_EQ(0, client_session_get(&self->c, self->session, &r));
	memcpy(p->session, r.session.v, sizeof(p->session));
	p->session[SOCKBEAT_A_SESSION_CLOCK_MS] = 0;
	for (i = SOCKBEAT_A_STATS_LIVE; i <= SOCKBEAT_A_STATS_GONE; i++)
		p->stats[i] = r.stats.v[i];
	/* Who was tracked already when the answer failed is deleted again. */
	p->stats[SOCKBEAT_A_STATS_ADDED] = r.stats.v[SOCKBEAT_A_STATS_ADDED] -
					   r.stats.v[SOCKBEAT_A_STATS_DELETED];
	p->stats[SOCKBEAT_A_STATS_RECYCLES] = r.stats.v[SOCKBEAT_A_STATS_RECYCLES];
}

/* A request, as the function that sends it; 0 or a negative errno. */
typedef int request_fn(FIXTURE_DATA(fault) *self, uint64_t *handle);

/* What came late, or not at all, is not to disturb what follows. */
static void fresh_client(struct __test_metadata *_metadata, FIXTURE_DATA(fault) *self)
{
	client_close(&self->c);
	ASSERT_EQ(0, client_open(&self->c));
}

/* A request is refused for want of memory, and nothing has changed; or its
 * answer is what was lost, of which netlink says ENOBUFS.
 */
static void check_refused(struct __test_metadata *_metadata, FIXTURE_DATA(fault) *self,
			  const char *name, int n, int err, bool acked,
			  const struct picture *before)
{
	struct picture after;

	EXPECT_TRUE(err == -ENOMEM || err == -ENOBUFS || err == -EAGAIN)
		TH_LOG("%s, allocation %d: %s %s", name, n, strerror(-err), self->c.why);
	fresh_client(_metadata, self);
	if (err == -ENOBUFS && acked)
		return;
	take_picture(_metadata, self, &after);
	EXPECT_EQ(0, memcmp(before, &after, sizeof(after)))
		TH_LOG("%s, allocation %d: %s, and yet something changed", name, n, strerror(-err));
}

/*
 * Send a request until all of it went well, with its first allocation failing,
 * then its second, and so on.  Some may fail without harm: the kernel has other
 * ways then.
 */
static void fail_each(struct __test_metadata *_metadata, FIXTURE_DATA(fault) *self,
		      const char *name, request_fn *request, bool undo, uint64_t *handle)
{
	int n, err = 0, refused = 0;
	struct picture before;
	bool reached = true;

	for (n = 1; reached && n < 400; n++) {
		/* What the last one did is undone, but for the last of all. */
		ASSERT_EQ(0, client_session_bind(&self->sink, self->session));
		if (undo && *handle)
			ASSERT_EQ(0, client_del(&self->c, self->session, *handle));
		take_picture(_metadata, self, &before);
		set_nth(self, n);
		err = request(self, handle);
		reached = was_reached(self);
		refused += err != 0;
		if (err)
			check_refused(_metadata, self, name, n, err, !undo, &before);
		ASSERT_EQ(0, kmsg_take());
	}
	EXPECT_EQ(0, err) TH_LOG("%s: %s %s", name, strerror(-err), self->c.why);
	TH_LOG("%s: %d allocations, %d of which refuse it", name, n - 2, refused);
}

static int session_new(FIXTURE_DATA(fault) *self, uint64_t *handle)
{
	int fd = client_session_new(&self->c, 300, 1000, 0, SOCKBEAT_TRIGGER_EDGE, NULL);

	if (fd >= 0)
		close(fd);
	return fd < 0 ? fd : 0;
}

static int session_get(FIXTURE_DATA(fault) *self, uint64_t *handle)
{
	struct session_reply r;

	return client_session_get(&self->c, self->session, &r);
}

static int session_set(FIXTURE_DATA(fault) *self, uint64_t *handle)
{
	return client_setting(&self->c, self->session, 0, SOCKBEAT_A_SESSION_TIMEOUT_MS, 600000);
}

static int session_bind(FIXTURE_DATA(fault) *self, uint64_t *handle)
{
	return client_session_bind(&self->c, self->session);
}

static int profile_set(FIXTURE_DATA(fault) *self, uint64_t *handle)
{
	struct nlmsghdr *nlh = client_cmd(&self->c, SOCKBEAT_CMD_PROFILE_SET);
	static const char reply[REPLY_BYTES] = "pong";
	struct nlattr *profile, *pattern;

	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_FD, self->session);
	profile = mnl_attr_nest_start(nlh, SOCKBEAT_A_SESSION_PROFILE);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_PROFILE_ID, 1);
	pattern = mnl_attr_nest_start(nlh, SOCKBEAT_A_PROFILE_PATTERN);
	mnl_attr_put(nlh, SOCKBEAT_A_PATTERN_VALUE, 4, "ping");
	mnl_attr_put(nlh, SOCKBEAT_A_PATTERN_REPLY, sizeof(reply), reply);
	mnl_attr_nest_end(nlh, pattern);
	mnl_attr_nest_end(nlh, profile);
	return client_talk(&self->c, nlh, NULL, NULL);
}

static int peer_add(FIXTURE_DATA(fault) *self, uint64_t *handle)
{
	struct peer_conf conf = { KEEP, KEEP, KEEP, 7, .profile = GIVE(1) };

	*handle = 0;
	return client_add1(&self->c, self->session, self->pair[0].server, &conf, handle);
}

static int peer_set(FIXTURE_DATA(fault) *self, uint64_t *handle)
{
	struct peer_conf conf = { 600000, KEEP, KEEP, 7, .profile = GIVE(1) };

	return client_set(&self->c, self->session, *handle, &conf);
}

static int peer_get(FIXTURE_DATA(fault) *self, uint64_t *handle)
{
	struct attrs peer;

	return client_get(&self->c, self->session, *handle, &peer);
}

static int dump(FIXTURE_DATA(fault) *self, uint64_t *handle)
{
	int n = client_dump(&self->c, self->session, 1 << SOCKBEAT_STATE_LIVE, NULL, 0);

	return n < 0 ? n : 0;
}

static int dump_by_id(FIXTURE_DATA(fault) *self, uint64_t *handle)
{
	struct nlmsghdr *nlh = client_msg(&self->c, self->c.family, SOCKBEAT_CMD_PEER_GET,
					  NLM_F_ACK | NLM_F_DUMP);

	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_ID, self->id);
	return client_talk(&self->c, nlh, NULL, NULL);
}

static int sessions(FIXTURE_DATA(fault) *self, uint64_t *handle)
{
	return client_talk(&self->c, client_msg(&self->c, self->c.family, SOCKBEAT_CMD_SESSION_GET,
						NLM_F_ACK | NLM_F_DUMP), NULL, NULL);
}

static int wrong(FIXTURE_DATA(fault) *self, uint64_t *handle)
{
	struct attrs peer;
	int err = client_get(&self->c, self->session, 9ull << 32, &peer);

	return err == -ENOENT ? 0 : err;
}

TEST_F(fault, requests)
{
	static const struct {
		const char *name;
		request_fn *fn;
		bool undo;
	} rows[] = {
		{ "session-new", session_new }, { "session-get", session_get },
		{ "session-set", session_set }, { "session-bind", session_bind },
		{ "profile-set", profile_set }, { "peer-add", peer_add, true }, { "peer-set", peer_set },
		{ "peer-get", peer_get }, { "dump of peers", dump }, { "dump by id", dump_by_id },
		{ "dump of sessions", sessions }, { "an error", wrong },
	};
	uint64_t handle = 0;
	unsigned int i;

	ASSERT_EQ(0, profile_set(self, NULL));
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		fail_each(_metadata, self, rows[i].name, rows[i].fn, rows[i].undo, &handle);
}

/* Those that end what they are asked for once they go well. */
static void fail_each_retire(struct __test_metadata *_metadata, FIXTURE_DATA(fault) *self,
			     uint8_t cmd, const char *name, const struct recycle_conf *conf)
{
	struct picture before;
	bool reached = true;
	uint64_t handle;
	int n, err = 0;

	for (n = 1; reached && n <= PEERS; n++) {
		ASSERT_EQ(0, client_add1(&self->c, self->session, self->pair[n - 1].server, NULL, &handle))
			TH_LOG("%s: %s", name, self->c.why);
		take_picture(_metadata, self, &before);
		set_nth(self, n);
		err = cmd ? client_retire(&self->c, self->session, cmd, &handle, 1, conf) :
			    client_del(&self->c, self->session, handle);
		reached = was_reached(self);
		if (err)
			check_refused(_metadata, self, name, n, err, true, &before);
		ASSERT_EQ(0, kmsg_take());
	}
	EXPECT_FALSE(reached);
	EXPECT_EQ(0, err) TH_LOG("%s: %s", name, strerror(-err));
	TH_LOG("%s: %d allocations", name, n - 2);
}

TEST_F(fault, peer_del)
{
	fail_each_retire(_metadata, self, 0, "peer-del", NULL);
}

TEST_F(fault, peer_recycle)
{
	fail_each_retire(_metadata, self, SOCKBEAT_CMD_PEER_RECYCLE, "peer-recycle",
			 &(struct recycle_conf){ 100, SOCKBEAT_END_ABORT });
}

TEST_F(fault, peer_end)
{
	fail_each_retire(_metadata, self, SOCKBEAT_CMD_PEER_END, "peer-end",
			 &(struct recycle_conf){ KEEP, SOCKBEAT_END_SHUTDOWN });
}

/* The slot page comes by page faults; who cannot have one tries again. */
TEST_F(fault, slot_page)
{
	volatile struct sockbeat_slot *slots;
	int n;

	slots = mmap(NULL, PEERS * sizeof(*slots), PROT_READ | PROT_WRITE, MAP_SHARED, self->session, 0);
	ASSERT_NE(MAP_FAILED, slots);
	for (n = 1; n < 4; n++) {
		set_nth(self, n);
		slots[0].beat_ms = n;
		was_reached(self);
		EXPECT_EQ(n, slots[0].beat_ms);
	}
	munmap((void *)slots, PEERS * sizeof(*slots));
}

/* A part of what the module asks for in its own work is refused. */
static int faults_in_module(int percent)
{
	return put_faults("probability", percent);
}

static int ready_faults_in_module(void)
{
	unsigned long text;
	FILE *file = fopen("/sys/module/sockbeat/sections/.text", "r");

	if (!file || fscanf(file, "%lx", &text) != 1)
		return -1;
	fclose(file);
	return fault_where(text, text + 0x40000, INT_MAX, true);
}

/* Silence, what the kernel does about it, quarantine and their news. */
TEST_F(fault, work)
{
	struct peer_conf conf = { 300, KEEP, KEEP, 0 };
	int fds[PEERS], told[PEERS] = {}, gone[PEERS] = {}, i, got = 0;
	uint64_t handles[PEERS], end_ms;
	struct event ev;

	ASSERT_EQ(0, ready_faults_in_module());
	ASSERT_EQ(0, client_setting(&self->c, self->session, 0, SOCKBEAT_A_SESSION_ACTION,
				    SOCKBEAT_ACTION_ABORT));
	ASSERT_EQ(0, client_setting(&self->c, self->session, 0, SOCKBEAT_A_SESSION_ACT_AFTER_MS, 1000));
	for (i = 0; i < PEERS; i++)
		fds[i] = self->pair[i].server;
	ASSERT_EQ(0, client_add(&self->c, self->session, fds, PEERS, &conf, handles));
	ASSERT_EQ(0, faults_in_module(70));
	end_ms = now_ms() + 60000;
	while (got < PEERS && now_ms() < end_ms) {
		/* The log does not hold many backtraces. */
		ASSERT_EQ(0, kmsg_take());
		if (!client_event(&self->sink, &ev, 20))
			continue;
		i = (uint32_t)ev.handle;
		ASSERT_GT(PEERS, i);
		EXPECT_EQ(handles[i], ev.handle);
		if (ev.kind == SOCKBEAT_EVENT_KIND_SILENT)
			EXPECT_EQ(1, ++told[i]);
		if (ev.kind == SOCKBEAT_EVENT_KIND_GONE)
			EXPECT_EQ(1, ++gone[i]);
		got += ev.kind == SOCKBEAT_EVENT_KIND_GONE;
	}
	EXPECT_EQ(PEERS, got);
	ASSERT_EQ(0, faults_in_module(0));
	EXPECT_EQ(PEERS, client_stat(&self->c, self->session, SOCKBEAT_A_STATS_ABORTS));
	EXPECT_LT(0, client_stat(&self->c, self->session, SOCKBEAT_A_STATS_DEFERRALS));
	TH_LOG("%llu deferrals, %llu acts deferred",
	       (unsigned long long)client_stat(&self->c, self->session, SOCKBEAT_A_STATS_DEFERRALS),
	       (unsigned long long)client_stat(&self->c, self->session, SOCKBEAT_A_STATS_ACTS_DEFERRED));
	ASSERT_EQ(0, client_handles(&self->c, self->session, SOCKBEAT_CMD_PEER_RECYCLE, handles, PEERS, NULL));
}

/* A heartbeat that finds no memory for its answer is left to the application. */
TEST_F(fault, answers)
{
	struct sockbeat_slot *slots;
	uint64_t handle = 0;
	char byte[8];
	int i;

	ASSERT_EQ(0, ready_faults_in_module());
	slots = mmap(NULL, PEERS * sizeof(*slots), PROT_READ | PROT_WRITE, MAP_SHARED, self->session, 0);
	ASSERT_NE(MAP_FAILED, slots);
	ASSERT_EQ(0, profile_set(self, NULL));
	ASSERT_EQ(0, peer_add(self, &handle));
	slots[(uint32_t)handle] = (struct sockbeat_slot){ .generation = handle >> 32 };
	ASSERT_EQ(0, faults_in_module(100));
	for (i = 0; i < 20; i++)
		ASSERT_EQ(4, send(self->pair[0].client, "ping", 4, 0));
	for (i = 0; i < 20; i++)
		EXPECT_EQ(4, recv(self->pair[0].server, byte, 4, MSG_WAITALL));
	ASSERT_EQ(0, faults_in_module(0));
	EXPECT_LT(0, client_stat(&self->c, self->session, SOCKBEAT_A_STATS_PASS_MEMORY));
	EXPECT_EQ(0, client_stat(&self->c, self->session, SOCKBEAT_A_STATS_ANSWERED));
	munmap(slots, PEERS * sizeof(*slots));
}

/* One call in the module, by the address that it returns to, fails once: where
 * this task makes it, or anyone.  Of each allocation meanwhile the backtrace is
 * looked at, which for all of the system takes a while.
 */
static int fail_at(unsigned long address, bool by_anyone)
{
	return fault_where(address, address + 1, 1, by_anyone) || put_faults("probability", 100);
}

/* Disarm it, and say whether it has failed. */
static bool has_failed(void)
{
	put_faults("probability", 0);
	return !file_number(DEBUG "failslab/times") || !file_number(DEBUG "fail_page_alloc/times");
}

/* A page of slots, of a session of its own: who cannot have it tries again. */
static int slot_touched(FIXTURE_DATA(fault) *self, uint64_t *handle)
{
	int session = client_session_new(&self->c, 300, 1000, 0, SOCKBEAT_TRIGGER_EDGE, NULL);
	volatile struct sockbeat_slot *slots;

	if (session < 0)
		return session;
	slots = mmap(NULL, sizeof(*slots), PROT_READ | PROT_WRITE, MAP_SHARED, session, 0);
	slots->beat_ms = 1;
	munmap((void *)slots, sizeof(*slots));
	close(session);
	return 0;
}

/* More sessions than one node of the table of their ids holds. */
static int session_many(FIXTURE_DATA(fault) *self, uint64_t *handle)
{
	int fd[65], n = 0, err = 0;

	while (!err && n < 65) {
		fd[n] = client_session_new(&self->c, 1, 1000, 0, SOCKBEAT_TRIGGER_EDGE, NULL);
		if (fd[n] < 0)
			err = fd[n];
		else
			n++;
	}
	while (n)
		close(fd[--n]);
	return err;
}

/* Heartbeats until the memory for answers that a processor has is used up; each
 * is answered or left to the application.  The last answer is not read before
 * there is another: who has read all of them has that memory used again.
 */
static int answered(FIXTURE_DATA(fault) *self, uint64_t *handle)
{
	struct sockbeat_slot *slots = mmap(NULL, PEERS * sizeof(*slots), PROT_READ | PROT_WRITE,
					   MAP_SHARED, self->session, 0);
	struct pollfd fds[2] = { { self->pair[0].client, POLLIN }, { self->pair[0].server, POLLIN } };
	int i, err = 0, two = 2 * REPLY_BYTES;
	char bytes[REPLY_BYTES];
	bool left = false;

	if (setsockopt(fds[0].fd, SOL_SOCKET, SO_RCVLOWAT, &two, sizeof(two)))
		err = -errno;
	slots[(uint32_t)*handle] = (struct sockbeat_slot){ .generation = *handle >> 32 };
	for (i = 0; i < 2 * 32768 / REPLY_BYTES && !left && !err; i++) {
		if (send(fds[0].fd, "ping", 4, 0) != 4 || (i && poll(fds, 2, 20000) <= 0))
			err = -ETIMEDOUT;
		else if (fds[1].revents)
			left = recv(fds[1].fd, bytes, 4, 0) == 4;
		else if (i)
			err = recv(fds[0].fd, bytes, sizeof(bytes), MSG_WAITALL) == sizeof(bytes) ? 0 : -EPROTO;
	}
	munmap(slots, PEERS * sizeof(*slots));
	return err;
}

/* A quarantine, by way of what ends sockets later. */
static int retired(FIXTURE_DATA(fault) *self, uint64_t *handle)
{
	int err = client_retire(&self->c, self->session, SOCKBEAT_CMD_PEER_RECYCLE, handle, 1,
				&(struct recycle_conf){ 1, SOCKBEAT_END_ABORT });

	if (!err)
		*handle = 0;
	return err;
}

/* Silence, what is done about it, and the news of both. */
static int ended(FIXTURE_DATA(fault) *self, uint64_t *handle)
{
	struct peer_conf conf = { 100, KEEP, KEEP, 0 };
	int err = client_session_bind(&self->sink, self->session);
	uint64_t silent = 0, end_ms = now_ms() + 30000;
	struct event ev = {};

	if (!err)
		err = client_add1(&self->c, self->session, self->pair[1].server, &conf, &silent);
	while (!err && (ev.kind != SOCKBEAT_EVENT_KIND_GONE || ev.handle != silent)) {
		if (now_ms() > end_ms)
			err = -ETIMEDOUT;
		client_event(&self->sink, &ev, 100);
	}
	if (silent)
		client_del(&self->c, self->session, silent);
	return err;
}

/* All that reaches a call that allocates. */
static const struct {
	const char *name;
	request_fn *fn;
	bool by_anyone;
} reaches[] = {
	{ "session-new", session_new }, { "many sessions", session_many },
	{ "slot page", slot_touched }, { "session-get", session_get },
	{ "profile-set", profile_set }, { "peer-add", peer_add }, { "peer-set", peer_set },
	{ "dump by id", dump_by_id }, { "act", ended, true }, { "answers", answered, true },
	{ "recycle", retired },
};

/* The address of a "FUNCTION+0xOFFSET" of the module, 0 for none. */
static unsigned long address_of(const char *site)
{
	unsigned long address, found = 0;
	FILE *file = fopen("/proc/kallsyms", "r");
	size_t len = strcspn(site, "+");
	char line[512], name[256];

	while (file && !found && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx %*c %255s", &address, name) == 2 && strstr(line, "[sockbeat]") &&
		    strlen(name) == len && !strncmp(name, site, len))
			found = address + strtoul(site + len + 1, NULL, 16);
	}
	if (file)
		fclose(file);
	return found;
}

/* Whether a call that is to fail is reached, and how that is borne. */
static bool fails_at(struct __test_metadata *_metadata, FIXTURE_DATA(fault) *self,
		     unsigned long address)
{
	struct picture before;
	uint64_t handle = 0;
	bool failed = false;
	unsigned int i;
	int err;

	for (i = 0; i < 2; i++) {
		tcp_pair_close(&self->pair[i]);
		ASSERT_EQ(0, tcp_pair(&self->pair[i]));
	}
	ASSERT_EQ(0, profile_set(self, NULL));
	for (i = 0; i < sizeof(reaches) / sizeof(reaches[0]) && !failed; i++) {
		take_picture(_metadata, self, &before);
		ASSERT_EQ(0, fail_at(address, reaches[i].by_anyone));
		err = reaches[i].fn(self, &handle);
		failed = has_failed();
		if (failed && err)
			check_refused(_metadata, self, reaches[i].name, 1, err, false, &before);
		else
			EXPECT_EQ(0, err) TH_LOG("%s: %s %s", reaches[i].name, strerror(-err), self->c.why);
	}
	if (handle)
		EXPECT_EQ(0, client_del(&self->c, self->session, handle));
	return failed;
}

/* Those that nothing can make fail: memory by processor comes from what is there,
 * and a hash table is asked for more only in the middle of being resized.
 */
static bool cannot_fail(const char *called)
{
	return !strncmp(called, "pcpu_alloc", 10) || !strcmp(called, "rhashtable_insert_slow");
}

TEST_F_TIMEOUT(fault, sites, 1200)
{
	const char *path = getenv("SOCKBEAT_TEST_SITES");
	FILE *list = path ? fopen(path, "r") : NULL;
	char site[256], called[256];
	unsigned long address;
	struct client monitor;
	int n = 0, all = 0;
	cpu_set_t cpu;

	if (!list)
		SKIP(return, "no list of the module's allocations");
	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(cpu), &cpu));
	ASSERT_EQ(0, sh("echo 1 >/proc/%d/make-it-fail", getpid()));
	/* Who listens for all gets a copy of each message. */
	ASSERT_EQ(0, client_open(&monitor));
	ASSERT_EQ(0, client_monitor(&monitor));
	ASSERT_EQ(0, client_setting(&self->c, self->session, 0, SOCKBEAT_A_SESSION_ACTION,
				    SOCKBEAT_ACTION_ABORT));
	ASSERT_EQ(0, client_setting(&self->c, self->session, 0, SOCKBEAT_A_SESSION_ACT_AFTER_MS, 100));
	while (fscanf(list, "%255s %255s", site, called) == 2) {
		all++;
		address = address_of(site);
		ASSERT_NE(0, address) TH_LOG("%s is not in the module", site);
		if (cannot_fail(called)) {
			TH_LOG("not tried: %s, of %s", called, site);
			continue;
		}
		if (fails_at(_metadata, self, address))
			n++;
		else
			EXPECT_TRUE(false) TH_LOG("never failed: %s, of %s", called, site);
		ASSERT_EQ(0, kmsg_take());
	}
	TH_LOG("%d of %d calls that allocate have failed", n, all);
	client_close(&monitor);
	fclose(list);
}

TEST_HARNESS_MAIN
