// SPDX-License-Identifier: BSD-3-Clause
/*
 * The builtin engine's slots, the table of the sockets that have one, and the
 * list of the peers that have something to tell.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "builtin.h"

#define MIN_BUCKETS	1024

/**
 * table_init - make an empty table
 * @b: the session, zeroed
 * @capacity: slots
 *
 * Return: 0, or -ENOMEM; table_free() is due in both cases.
 */
int table_init(struct builtin *b, uint32_t capacity)
{
	b->capacity = capacity;
	b->free_head = b->ready_head = b->ready_tail = NO_PEER;
	b->n_buckets = MIN_BUCKETS;
	b->buckets = malloc(b->n_buckets * sizeof(*b->buckets));
	b->chunks = calloc((capacity >> CHUNK_BITS) + 1, sizeof(struct peer *));
	if (!b->buckets || !b->chunks)
		return -ENOMEM;
	memset(b->buckets, 0xff, b->n_buckets * sizeof(*b->buckets));
	return 0;
}

/**
 * table_free - undo table_init()
 * @b: the session
 */
void table_free(struct builtin *b)
{
	uint32_t i;

	for (i = 0; b->chunks && i < b->capacity; i += CHUNK_PEERS)
		free(b->chunks[i >> CHUNK_BITS]);
	free(b->chunks);
	free(b->buckets);
}

/**
 * slot_find - look a handle up
 * @b: the session
 * @handle: any
 *
 * Return: the peer, or NULL for a handle that is stale or never was.
 */
struct peer *slot_find(const struct builtin *b, uint64_t handle)
{
	struct peer *peer;

	if (sockbeat_index(handle) >= b->fresh)
		return NULL;
	peer = peer_at(b, sockbeat_index(handle));
	return peer->used && peer->generation == handle >> 32 ? peer : NULL;
}

static uint32_t *bucket_of(const struct builtin *b, uint64_t cookie)
{
	return &b->buckets[(cookie * 0x9e3779b97f4a7c15ULL >> 32) & (b->n_buckets - 1)];
}

/**
 * cookie_known - whether a socket is tracked
 * @b: the session
 * @cookie: the socket's SO_COOKIE
 */
bool cookie_known(const struct builtin *b, uint64_t cookie)
{
	uint32_t index = *bucket_of(b, cookie);

	while (index != NO_PEER && peer_at(b, index)->cookie != cookie)
		index = peer_at(b, index)->hash_next;
	return index != NO_PEER;
}

/**
 * cookie_insert - enter a peer's socket
 * @b: the session
 * @peer: the peer, with its cookie
 */
void cookie_insert(struct builtin *b, struct peer *peer)
{
	uint32_t *bucket = bucket_of(b, peer->cookie);

	peer->hash_next = *bucket;
	*bucket = peer->index;
}

/**
 * cookie_remove - undo cookie_insert()
 * @b: the session
 * @peer: the peer
 */
void cookie_remove(struct builtin *b, struct peer *peer)
{
	uint32_t *link = bucket_of(b, peer->cookie);

	while (*link != peer->index)
		link = &peer_at(b, *link)->hash_next;
	*link = peer->hash_next;
}

/* Keep chains short; without memory for a larger table they grow longer. */
static void cookie_table_grow(struct builtin *b)
{
	struct peer *peer;
	uint32_t *buckets;
	uint32_t i;

	if (b->fresh < b->n_buckets)
		return;
	buckets = malloc(2 * (size_t)b->n_buckets * sizeof(*buckets));
	if (!buckets)
		return;
	free(b->buckets);
	b->buckets = buckets;
	b->n_buckets *= 2;
	memset(buckets, 0xff, (size_t)b->n_buckets * sizeof(*buckets));
	for (i = 0; i < b->fresh; i++) {
		peer = peer_at(b, i);
		if (peer->used && has_socket(peer))
			cookie_insert(b, peer);
	}
}

/**
 * slot_take - give a slot to a new peer
 * @b: the session
 * @err: set on failure
 *
 * Never used slots come first, then the one that was released longest ago: a
 * slot is reused as late as can be.
 *
 * Return: the peer with its handle, all else as its predecessor left it; NULL
 * with -ENOSPC or -ENOMEM.
 */
struct peer *slot_take(struct builtin *b, int *err)
{
	struct peer *peer, *chunk;

	cookie_table_grow(b);
	if (b->fresh < b->capacity) {
		if (b->fresh % CHUNK_PEERS == 0 && !b->chunks[b->fresh >> CHUNK_BITS]) {
			chunk = calloc(CHUNK_PEERS, sizeof(*chunk));
			if (!chunk) {
				*err = -ENOMEM;
				return NULL;
			}
			b->chunks[b->fresh >> CHUNK_BITS] = chunk;
		}
		peer = peer_at(b, b->fresh);
		peer->index = b->fresh++;
	} else if (b->free_head != NO_PEER) {
		peer = peer_at(b, b->free_head);
		b->free_head = peer->next;
	} else {
		*err = -ENOSPC;
		return NULL;
	}
	peer->used = true;
	if (!++peer->generation)
		peer->generation = 1;
	return peer;
}

/**
 * slot_release - undo slot_take()
 * @b: the session
 * @peer: a peer that is on no list
 */
void slot_release(struct builtin *b, struct peer *peer)
{
	peer->used = false;
	peer->next = NO_PEER;
	if (b->free_head == NO_PEER)
		b->free_head = peer->index;
	else
		peer_at(b, b->free_tail)->next = peer->index;
	b->free_tail = peer->index;
}

/**
 * ready_push - put a peer on the ready list, or change what it has to tell
 * @b: the session
 * @peer: the peer
 * @pending: what to tell
 */
void ready_push(struct builtin *b, struct peer *peer, enum tell pending)
{
	if (peer->pending == TELL_NOTHING) {
		peer->next = NO_PEER;
		peer->prev = b->ready_tail;
		if (b->ready_tail == NO_PEER)
			b->ready_head = peer->index;
		else
			peer_at(b, b->ready_tail)->next = peer->index;
		b->ready_tail = peer->index;
	}
	peer->pending = pending;
}

/**
 * ready_drop - take a peer off the ready list
 * @b: the session
 * @peer: the peer, on the list or not
 */
void ready_drop(struct builtin *b, struct peer *peer)
{
	if (peer->pending == TELL_NOTHING)
		return;
	if (peer->prev == NO_PEER)
		b->ready_head = peer->next;
	else
		peer_at(b, peer->prev)->next = peer->next;
	if (peer->next == NO_PEER)
		b->ready_tail = peer->prev;
	else
		peer_at(b, peer->next)->prev = peer->prev;
	peer->pending = TELL_NOTHING;
}
