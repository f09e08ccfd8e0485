// SPDX-License-Identifier: GPL-2.0-only
/* The count of connections by address. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include "address_limit.h"
#include "harness.h"

#define THREADS	4
#define ROUNDS	20000

FIXTURE(addresses) {
	struct address_limit limit;
};

FIXTURE_SETUP(addresses)
{
	memset(&self->limit, 0, sizeof(self->limit));
}

FIXTURE_TEARDOWN(addresses)
{
	address_limit_free(&self->limit);
}

static int take(FIXTURE_DATA(addresses) *self, const char *text, struct address_use **use)
{
	union address address;
	char full[64];

	snprintf(full, sizeof(full), strchr(text, ':') ? "[%s]:7" : "%s:7", text);
	if (address_parse(&address, full))
		return -EINVAL;
	return address_limit_take(&self->limit, &address, use);
}

TEST_F(addresses, one_more)
{
	struct address_use *use[3];

	ASSERT_EQ(0, address_limit_init(&self->limit, 2, 100));
	EXPECT_EQ(0, take(self, "10.0.0.1", &use[0]));
	EXPECT_EQ(0, take(self, "10.0.0.1", &use[1]));
	EXPECT_EQ(-EUSERS, take(self, "10.0.0.1", &use[2]));
	EXPECT_EQ(NULL, use[2]);
	EXPECT_EQ(0, take(self, "10.0.0.2", &use[2]));
	address_limit_put(&self->limit, use[0]);
	EXPECT_EQ(0, take(self, "10.0.0.1", &use[0]));
	EXPECT_EQ(-EUSERS, take(self, "10.0.0.1", &(struct address_use *){ NULL }));
	for (int i = 0; i < 3; i++)
		address_limit_put(&self->limit, use[i]);
}

TEST_F(addresses, ipv6_by_its_half)
{
	struct address_use *use[4];

	ASSERT_EQ(0, address_limit_init(&self->limit, 1, 100));
	EXPECT_EQ(0, take(self, "2001:db8:0:1::1", &use[0]));
	EXPECT_EQ(-EUSERS, take(self, "2001:db8:0:1:ffff::2", &use[1]));
	EXPECT_EQ(0, take(self, "2001:db8:0:2::1", &use[1]));
	/* The same bytes, but another family. */
	EXPECT_EQ(0, take(self, "32.1.13.184", &use[2]));
	EXPECT_EQ(0, take(self, "2001:db8:100::", &use[3]));
	for (int i = 0; i < 4; i++)
		address_limit_put(&self->limit, use[i]);
}

/* More addresses than buckets, in any order: each ends with nothing. */
TEST_F(addresses, many)
{
	struct address_use *use[1000];
	char text[32];
	int i;

	ASSERT_EQ(0, address_limit_init(&self->limit, 1, 16));
	for (i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "10.0.%d.%d", i / 250, i % 250);
		ASSERT_EQ(0, take(self, text, &use[i]));
		ASSERT_EQ(-EUSERS, take(self, text, &(struct address_use *){ NULL }));
	}
	for (i = 0; i < 1000; i++)
		address_limit_put(&self->limit, use[i * 7 % 1000]);
	for (i = 0; i < 1 << self->limit.bits; i++)
		EXPECT_EQ(NULL, self->limit.buckets[i]);
}

static void *come_and_go(void *arg)
{
	struct address_limit *limit = arg;
	struct address_use *use;
	union address address;
	long taken = 0;

	address_parse(&address, "10.0.0.1:7");
	for (int i = 0; i < ROUNDS; i++) {
		if (address_limit_take(limit, &address, &use))
			continue;
		taken++;
		address_limit_put(limit, use);
	}
	return (void *)taken;
}

TEST_F(addresses, threads)
{
	pthread_t threads[THREADS];
	struct address_use *use;
	long all = 0;
	void *taken;
	int i;

	ASSERT_EQ(0, address_limit_init(&self->limit, THREADS, 100));
	for (i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, come_and_go, &self->limit));
	for (i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &taken);
		all += (long)taken;
	}
	/* There was always room for each. */
	EXPECT_EQ(THREADS * ROUNDS, all);
	ASSERT_EQ(0, take(self, "10.0.0.1", &use));
	address_limit_put(&self->limit, use);
	for (i = 0; i < 1 << self->limit.bits; i++)
		EXPECT_EQ(NULL, self->limit.buckets[i]);
}

TEST_F(addresses, no_limit_costs_nothing)
{
	ASSERT_EQ(0, address_limit_init(&self->limit, 0, 1 << 24));
	EXPECT_EQ(0, self->limit.max);
	EXPECT_EQ(NULL, self->limit.buckets);
	address_limit_put(&self->limit, NULL);
}

TEST_HARNESS_MAIN
