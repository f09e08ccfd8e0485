// SPDX-License-Identifier: GPL-2.0-only
/*
 * Room among the jobs that wait: the part of the worker pool that reactors
 * contend for. The rest of it is tested with real clients in daemon_recycle.c.
 */
#include <pthread.h>
#include <stdatomic.h>
#include "harness.h"
#include "reactor.h"

#define ROOM		2
#define THREADS		4
#define TRIES		500000

struct contest {
	struct work work;
	atomic_bool over;	/* more jobs than there is room for, for a moment */
	atomic_uint got;
};

static void *contend(void *arg)
{
	struct contest *contest = arg;

	for (int i = 0; i < TRIES; i++) {
		if (work_reserve(&contest->work)) {
			atomic_fetch_add(&contest->got, 1);
			work_forget(&contest->work, 1);
		}
		if (atomic_load(&contest->work.waiting) > ROOM)
			atomic_store(&contest->over, true);
	}
	return NULL;
}

TEST(room)
{
	struct work work = { .max_waiting = ROOM };

	EXPECT_TRUE(work_reserve(&work));
	EXPECT_TRUE(work_reserve(&work));
	EXPECT_FALSE(work_reserve(&work));
	work_forget(&work, 1);
	EXPECT_TRUE(work_reserve(&work));
	work_forget(&work, 2);
	EXPECT_EQ(0, work.waiting);
}

/* A reactor that sees a full queue waits to be told of room. So what looks like
 * a full queue has to be one.
 */
TEST(who_finds_no_room_takes_none)
{
	struct contest contest = { .work = { .max_waiting = ROOM } };
	pthread_t thread[THREADS];

	for (int i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, contend, &contest));
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	EXPECT_FALSE(contest.over);
	EXPECT_LT(0, contest.got);
	EXPECT_EQ(0, contest.work.waiting);
}

TEST_HARNESS_MAIN
