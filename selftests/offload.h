/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Profiles and slot records for the tests of heartbeat offload, and the
 * fixture: one tracked connection whose profile is that of the native frames.
 */
#ifndef SELFTESTS_OFFLOAD_H
#define SELFTESTS_OFFLOAD_H

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "client.h"
#include "tcp.h"
#include "harness.h"

/* What must come is waited for so long, what must not come is asked for after
 * something that comes behind it.
 */
#define PATIENCE_MS	20000

#define HEARTBEAT	"\0\10\0\0\0\0\0\0"
#define HEARTBEAT_BYTES	8

struct pattern {
	const char *value;
	int len;
	const char *mask;
	const char *reply;
	int reply_len;
	uint32_t from, to, bytes;
	bool answers_probe;
};

struct profile {
	uint32_t id;
	uint32_t min_interval_ms;
	const char *probe;
	int probe_len;
	const struct pattern *pattern;
	int n;
};

static const struct pattern native_pattern = {
	HEARTBEAT, HEARTBEAT_BYTES, NULL, HEARTBEAT, HEARTBEAT_BYTES,
};

static const struct profile native = { .id = 1, .pattern = &native_pattern, .n = 1 };

static inline void put_pattern(struct nlmsghdr *nlh, const struct pattern *p)
{
	struct nlattr *nest = mnl_attr_nest_start(nlh, SOCKBEAT_A_PROFILE_PATTERN);

	if (p->value)
		mnl_attr_put(nlh, SOCKBEAT_A_PATTERN_VALUE, p->len, p->value);
	if (p->mask)
		mnl_attr_put(nlh, SOCKBEAT_A_PATTERN_MASK, p->len, p->mask);
	if (p->reply)
		mnl_attr_put(nlh, SOCKBEAT_A_PATTERN_REPLY, p->reply_len, p->reply);
	if (p->bytes) {
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PATTERN_COPY_FROM, p->from);
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PATTERN_COPY_TO, p->to);
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PATTERN_COPY_BYTES, p->bytes);
	}
	if (p->answers_probe)
		mnl_attr_put(nlh, SOCKBEAT_A_PATTERN_ANSWERS_PROBE, 0, NULL);
	mnl_attr_nest_end(nlh, nest);
}

static inline int client_profile(struct client *c, int session, const struct profile *p)
{
	struct nlmsghdr *nlh = client_cmd(c, SOCKBEAT_CMD_PROFILE_SET);
	struct nlattr *nest;
	int i;

	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_FD, session);
	nest = mnl_attr_nest_start(nlh, SOCKBEAT_A_SESSION_PROFILE);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_PROFILE_ID, p->id);
	if (p->min_interval_ms)
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PROFILE_MIN_INTERVAL_MS, p->min_interval_ms);
	if (p->probe)
		mnl_attr_put(nlh, SOCKBEAT_A_PROFILE_PROBE, p->probe_len, p->probe);
	for (i = 0; i < p->n; i++)
		put_pattern(nlh, &p->pattern[i]);
	mnl_attr_nest_end(nlh, nest);
	return client_talk(c, nlh, NULL, NULL);
}

static inline int client_profile_del(struct client *c, int session, uint32_t id)
{
	struct nlmsghdr *nlh = client_cmd(c, SOCKBEAT_CMD_PROFILE_DEL);
	struct nlattr *nest;

	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_FD, session);
	nest = mnl_attr_nest_start(nlh, SOCKBEAT_A_SESSION_PROFILE);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_PROFILE_ID, id);
	mnl_attr_nest_end(nlh, nest);
	return client_talk(c, nlh, NULL, NULL);
}

static inline struct sockbeat_slot *slots_map(int session, uint32_t capacity)
{
	return mmap(NULL, capacity * sizeof(struct sockbeat_slot), PROT_READ | PROT_WRITE,
		    MAP_SHARED, session, 0);
}

static inline int give_profile(struct client *c, int session, uint64_t handle, uint32_t profile)
{
	struct peer_conf conf = { KEEP, KEEP, KEEP, 0, GIVE(profile), 0 };

	return client_set(c, session, handle, &conf);
}

static inline int give_probe(struct client *c, int session, uint64_t handle, uint32_t after_ms)
{
	struct peer_conf conf = { KEEP, KEEP, KEEP, 0, 0, GIVE(after_ms) };

	return client_set(c, session, handle, &conf);
}

/* Say where the application stands. */
static inline void stand_at(struct sockbeat_slot *slot, uint64_t handle, uint32_t rx, uint32_t tx)
{
	__atomic_store_n(&slot->tx, tx, __ATOMIC_RELEASE);
	__atomic_store_n(&slot->rx, rx, __ATOMIC_RELEASE);
	__atomic_store_n(&slot->generation, handle >> 32, __ATOMIC_RELEASE);
}

/* Exactly these bytes come next; false when others do, or none in time. */
static inline bool receives(int fd, const void *bytes, size_t len)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	char got[4096];
	size_t n = 0;
	ssize_t ret;

	while (n < len) {
		if (poll(&pfd, 1, PATIENCE_MS) != 1)
			return false;
		ret = recv(fd, got + n, len - n, MSG_DONTWAIT);
		if (ret <= 0)
			return false;
		n += ret;
	}
	return !memcmp(got, bytes, len);
}

static inline bool is_readable(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, 0) == 1;
}

static inline bool becomes_readable(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, PATIENCE_MS) == 1;
}

FIXTURE(offload) {
	struct client ev;	/* events */
	struct client c;	/* requests */
	int session;		/* of 4 slots */
	struct sockbeat_slot *slots;
	struct pair pair;
	uint64_t handle;	/* of pair.server */
	uint32_t rx, tx;	/* where its application stands */
};

#define SELF	struct __test_metadata *_metadata, FIXTURE_DATA(offload) *self

static inline uint64_t stat_of(SELF, int type)
{
	return client_stat(&self->c, self->session, type);
}

/* Wait for a counter: what a test sees may come before it is counted. */
static inline bool reaches(SELF, int type, uint64_t value)
{
	uint64_t end = now_ms() + PATIENCE_MS;

	while (stat_of(_metadata, self, type) != value && now_ms() < end)
		usleep(1000);
	if (stat_of(_metadata, self, type) == value)
		return true;
	TH_LOG("counter %d is %llu, not %llu", type,
	       (unsigned long long)stat_of(_metadata, self, type), (unsigned long long)value);
	return false;
}

static inline void add_with(SELF, int fd, uint32_t profile, uint64_t *handle)
{
	struct peer_conf conf = { KEEP, KEEP, KEEP, 0, GIVE(profile), 0 };

	ASSERT_EQ(0, client_add1(&self->c, self->session, fd, &conf, handle)) {
		TH_LOG("%s", self->c.why);
	}
}

static inline void stand(SELF)
{
	stand_at(&self->slots[(uint32_t)self->handle], self->handle, self->rx, self->tx);
}

static inline void client_sends(SELF, const void *bytes, size_t len)
{
	ASSERT_EQ(len, send(self->pair.client, bytes, len, MSG_NOSIGNAL));
}

/* One heartbeat, which the kernel answers and the application does not see. */
static inline void expect_answered(SELF)
{
	uint64_t before = stat_of(_metadata, self, SOCKBEAT_A_STATS_ANSWERED);

	client_sends(_metadata, self, HEARTBEAT, HEARTBEAT_BYTES);
	ASSERT_TRUE(receives(self->pair.client, HEARTBEAT, HEARTBEAT_BYTES));
	ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_ANSWERED, before + 1));
	ASSERT_FALSE(is_readable(self->pair.server));
}

/* One heartbeat, which the application sees and the kernel does not answer;
 * @counter says why.  The application then answers it.
 */
static inline void expect_passed(SELF, int counter)
{
	uint64_t answered = stat_of(_metadata, self, SOCKBEAT_A_STATS_ANSWERED);
	uint64_t before = counter ? stat_of(_metadata, self, counter) : 0;

	client_sends(_metadata, self, HEARTBEAT, HEARTBEAT_BYTES);
	ASSERT_TRUE(receives(self->pair.server, HEARTBEAT, HEARTBEAT_BYTES));
	if (counter)
		ASSERT_TRUE(reaches(_metadata, self, counter, before + 1));
	ASSERT_EQ(answered, stat_of(_metadata, self, SOCKBEAT_A_STATS_ANSWERED));
	ASSERT_FALSE(is_readable(self->pair.client));
	ASSERT_EQ(HEARTBEAT_BYTES, send(self->pair.server, HEARTBEAT, HEARTBEAT_BYTES, 0));
	ASSERT_TRUE(receives(self->pair.client, HEARTBEAT, HEARTBEAT_BYTES));
	self->rx += HEARTBEAT_BYTES;
	self->tx += HEARTBEAT_BYTES;
}

static inline void offload_begin(SELF)
{
	ASSERT_EQ(0, client_open(&self->ev));
	ASSERT_EQ(0, client_open(&self->c));
	self->session = client_session_new(&self->ev, 4, 60000, 500,
					   SOCKBEAT_TRIGGER_EDGE, NULL);
	ASSERT_LE(0, self->session) {
		TH_LOG("%s", self->ev.why);
	}
	self->slots = slots_map(self->session, 4);
	ASSERT_NE(MAP_FAILED, self->slots);
	ASSERT_EQ(0, client_profile(&self->c, self->session, &native)) {
		TH_LOG("%s", self->c.why);
	}
	ASSERT_EQ(0, tcp_pair(&self->pair));
	add_with(_metadata, self, self->pair.server, native.id, &self->handle);
	stand(_metadata, self);
}

static inline void offload_end(FIXTURE_DATA(offload) *self)
{
	tcp_pair_close(&self->pair);
	munmap(self->slots, 4 * sizeof(*self->slots));
	close(self->session);
	client_close(&self->ev);
	client_close(&self->c);
}

FIXTURE_SETUP(offload)
{
	offload_begin(_metadata, self);
}

FIXTURE_TEARDOWN(offload)
{
	offload_end(self);
}

#endif /* SELFTESTS_OFFLOAD_H */
