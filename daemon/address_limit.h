/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How many connections each address has, over all reactors, and no more than
 * that. An IPv6 client counts by its /64, of which it can use any address.
 */
#ifndef SOCKBEAT_ADDRESS_LIMIT_H
#define SOCKBEAT_ADDRESS_LIMIT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "address.h"

struct address_use;

/**
 * struct address_limit - the count
 * @max: connections that one address may have, 0 for any number: nothing is
 *	 counted then
 * @lock: protects what follows; taken when a connection begins and ends
 * @bits: there are 1 << @bits buckets
 * @seed: random, so that nobody can choose addresses that share a bucket
 * @buckets: addresses that have a connection now, by hash
 */
struct address_limit {
	uint32_t max;
	pthread_mutex_t lock;
	unsigned int bits;
	uint64_t seed;
	struct address_use **buckets;
};

int address_limit_init(struct address_limit *limit, uint32_t max, uint32_t max_connections);
void address_limit_free(struct address_limit *limit);
int address_limit_take(struct address_limit *limit, const union address *address,
		       struct address_use **use);
void address_limit_put(struct address_limit *limit, struct address_use *use);

#endif /* SOCKBEAT_ADDRESS_LIMIT_H */
