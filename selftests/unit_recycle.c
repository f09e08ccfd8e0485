// SPDX-License-Identifier: GPL-2.0-only
/*
 * References under load: threads take and drop them for any handle that there
 * was of late while the session's thread adds, retires and frees.  A thread
 * that holds a reference must be alone with the slot: it writes its handle
 * there and has to find it again.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>
#include "libsockbeat.h"
#include "tcp.h"
#include "harness.h"

#define SLOTS		8
#define THREADS		4
#define RECENT		16

static uint64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}

struct load {
	struct sockbeat *sb;
	_Atomic uint64_t recent[RECENT];	/* handles, live and retired */
	_Atomic uint64_t owner[SLOTS];		/* who works on the slot */
	_Atomic uint64_t worked, stale;
	atomic_bool stop;
};

static void *work(void *arg)
{
	struct load *load = arg;
	unsigned int seed = (uintptr_t)pthread_self() >> 12;

	while (!atomic_load(&load->stop)) {
		uint64_t handle = atomic_load(&load->recent[rand_r(&seed) % RECENT]), other;
		_Atomic uint64_t *owner;

		if (!handle)
			continue;
		if (sockbeat_conn_get(load->sb, handle)) {
			atomic_fetch_add(&load->stale, 1);
			continue;
		}
		/* Others may work for the same peer, but for no other one. */
		owner = &load->owner[sockbeat_index(handle)];
		for (int i = 0; i < 20; i++) {
			other = atomic_exchange(owner, handle);
			if (other && other != handle)
				return (void *)1;
			if (i == 10 && rand_r(&seed) % 100 == 0)
				poll(NULL, 0, rand_r(&seed) % 200);
		}
		atomic_fetch_add(&load->worked, 1);
		sockbeat_conn_put(load->sb, handle);
	}
	return NULL;
}

/* Take events until no slot is in quarantine, or just those that are there. */
static int take_events(struct load *load, uint64_t end_ms)
{
	struct pollfd pfd = { .fd = sockbeat_fd(load->sb), .events = POLLIN };
	struct sockbeat_event event[3];
	int i, n, freed = 0;

	do {
		poll(&pfd, 1, end_ms ? 100 : 0);
		n = sockbeat_events(load->sb, event, 3);
		for (i = 0; i < n; i++) {
			if (event[i].kind != SOCKBEAT_EVENT_KIND_RECYCLED || event[i].refs)
				continue;
			/* From here on the slot may have another owner. */
			atomic_store(&load->owner[sockbeat_index(event[i].handle)], 0);
			freed++;
		}
	} while (n > 0 || clock_ms() < end_ms);
	return freed;
}

/* Retire a peer, with a delay or without. */
static int retire(struct load *load, uint64_t handle, unsigned int *seed)
{
	uint32_t delay_ms = rand_r(seed) % 2 ? 1 + rand_r(seed) % 150 : 0;
	struct sockbeat_info info;

	if (sockbeat_recycle(load->sb, &handle, 1, delay_ms, SOCKBEAT_END_NONE) != 1)
		return -1;
	/* Freed at once, without an event, if nobody held it. */
	if (sockbeat_get(load->sb, handle, &info))
		atomic_store(&load->owner[sockbeat_index(handle)], 0);
	return 0;
}

TEST(references_of_many_threads)
{
	const struct sockbeat_opts opts = { .engine = SOCKBEAT_ENGINE_BUILTIN, .capacity = SLOTS,
					    .renotify_ms = 100 };
	static struct load load;
	uint64_t handle[SLOTS] = { 0 }, end_ms = clock_ms() + 5000, added = 0;
	pthread_t thread[THREADS];
	struct sockbeat_stats stats;
	struct pair pairs[SLOTS];
	unsigned int seed = 1;
	void *bad;
	int i;

	ASSERT_EQ(0, sockbeat_open(&load.sb, &opts));
	ASSERT_EQ(0, tcp_pairs(AF_INET, pairs, SLOTS));
	for (i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, work, &load));
	while (clock_ms() < end_ms) {
		struct sockbeat_peer peer = { 0 };

		i = rand_r(&seed) % SLOTS;
		if (handle[i]) {
			ASSERT_EQ(0, retire(&load, handle[i], &seed));
			handle[i] = 0;
		} else {
			peer.fd = pairs[i].server;
			if (sockbeat_add(load.sb, &peer, 1) == 1) {
				handle[i] = peer.handle;
				atomic_store(&load.recent[added++ % RECENT], peer.handle);
			} else {
				ASSERT_EQ(-ENOSPC, peer.error);
			}
		}
		take_events(&load, 0);
		poll(NULL, 0, rand_r(&seed) % 3);
	}
	atomic_store(&load.stop, true);
	for (i = 0; i < THREADS; i++) {
		ASSERT_EQ(0, pthread_join(thread[i], &bad));
		ASSERT_EQ(NULL, bad) TH_LOG("a slot was reused while its peer was worked for");
	}
	for (i = 0; i < SLOTS; i++)
		ASSERT_TRUE(!handle[i] || !retire(&load, handle[i], &seed));
	take_events(&load, clock_ms() + 500);
	ASSERT_EQ(0, sockbeat_get_stats(load.sb, &stats));
	TH_LOG("%" PRIu64 " peers, %" PRIu64 " times worked for, %" PRIu64 " references refused, %"
	       PRIu64 " slots held", added, load.worked, load.stale, stats.held_total);
	ASSERT_EQ(added, stats.recycled);
	ASSERT_EQ(0, stats.recycling);
	ASSERT_EQ(0, stats.held);
	ASSERT_LT(0, stats.held_total);
	ASSERT_EQ(load.stale, stats.stale);
	ASSERT_LT(SLOTS * 4, added);
	ASSERT_LT(0, load.worked);
	sockbeat_close(load.sb);
	for (i = 0; i < SLOTS; i++)
		tcp_pair_close(&pairs[i]);
}

TEST_HARNESS_MAIN
