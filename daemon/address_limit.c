// SPDX-License-Identifier: BSD-3-Clause
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "address_limit.h"

/* Marks IPv4 among the keys: no IPv6 client has an address in 0:1::/32. */
#define KEY_IPV4	(1ULL << 32)

/**
 * struct address_use - an address that has a connection
 * @next: in its bucket
 * @key: the address
 * @n: connections that it has
 */
struct address_use {
	struct address_use *next;
	uint64_t key;
	uint32_t n;
};

static uint64_t key_of(const union address *address)
{
	uint64_t prefix;

	if (address->sa.sa_family == AF_INET)
		return KEY_IPV4 | ntohl(address->in.sin_addr.s_addr);
	memcpy(&prefix, &address->in6.sin6_addr, sizeof(prefix));
	return be64toh(prefix);
}

/* Multiply and shift by a random odd number: two keys share a bucket as rarely
 * as by chance, whoever chose them.
 */
static struct address_use **bucket(struct address_limit *limit, uint64_t key)
{
	return &limit->buckets[(key * limit->seed) >> (64 - limit->bits)];
}

/**
 * address_limit_init - begin to count
 * @limit: filled in
 * @max: connections that one address may have, 0 for any number
 * @max_connections: connections that there can be
 *
 * There are as many buckets as there can be addresses. A page of them takes
 * memory when it is used first.
 *
 * Return: 0 or a negative errno.
 */
int address_limit_init(struct address_limit *limit, uint32_t max, uint32_t max_connections)
{
	memset(limit, 0, sizeof(*limit));
	if (!max)
		return 0;
	limit->bits = 1;
	while (1ULL << limit->bits < max_connections)
		limit->bits++;
	if (getrandom(&limit->seed, sizeof(limit->seed), 0) != sizeof(limit->seed))
		return -EIO;
	limit->seed |= 1;
	limit->buckets = calloc(1ULL << limit->bits, sizeof(struct address_use *));
	if (!limit->buckets)
		return -ENOMEM;
	pthread_mutex_init(&limit->lock, NULL);
	limit->max = max;
	return 0;
}

/**
 * address_limit_free - undo address_limit_init(), also one that failed
 * @limit: the count, in which no connection is left
 */
void address_limit_free(struct address_limit *limit)
{
	if (!limit->max)
		return;
	free(limit->buckets);
	pthread_mutex_destroy(&limit->lock);
	limit->max = 0;
}

/**
 * address_limit_take - count a connection, unless its address has too many
 * @limit: the count, with a limit
 * @address: where the client is
 * @use: set to what address_limit_put() wants when the connection ends
 *
 * Return: 0; -EUSERS for one too many; -ENOMEM.
 */
int address_limit_take(struct address_limit *limit, const union address *address,
		       struct address_use **use)
{
	uint64_t key = key_of(address);
	struct address_use **head = bucket(limit, key), *found;
	int err = 0;

	pthread_mutex_lock(&limit->lock);
	for (found = *head; found && found->key != key; found = found->next)
		;
	if (!found) {
		found = malloc(sizeof(*found));
		if (found) {
			*found = (struct address_use){ .next = *head, .key = key };
			*head = found;
		}
	}
	if (!found)
		err = -ENOMEM;
	else if (found->n >= limit->max)
		err = -EUSERS;
	else
		found->n++;
	pthread_mutex_unlock(&limit->lock);
	*use = err ? NULL : found;
	return err;
}

/**
 * address_limit_put - a connection has ended
 * @limit: the count
 * @use: what address_limit_take() gave for it; NULL where nothing is counted
 */
void address_limit_put(struct address_limit *limit, struct address_use *use)
{
	struct address_use **link;

	if (!use)
		return;
	pthread_mutex_lock(&limit->lock);
	if (!--use->n) {
		for (link = bucket(limit, use->key); *link != use; link = &(*link)->next)
			;
		*link = use->next;
		free(use);
	}
	pthread_mutex_unlock(&limit->lock);
}
