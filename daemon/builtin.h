/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the builtin engine share: engine_builtin.c (calls),
 * builtin_peer.c (when a peer is silent), builtin_act.c (what is done to it),
 * builtin_recycle.c (quarantine), builtin_table.c (slots and lists).
 */
#ifndef SOCKBEAT_BUILTIN_H
#define SOCKBEAT_BUILTIN_H

#include <stdbool.h>

#include "adapt.h"
#include "engine.h"
#include "guard.h"
#include "wheel.h"

#define TICK_MS		100

#define CHUNK_BITS	10
#define CHUNK_PEERS	(1u << CHUNK_BITS)
#define NO_PEER		UINT32_MAX

/* What a peer on the ready list has to tell. */
enum tell {
	TELL_NOTHING,
	TELL_SILENT,
	TELL_HEARD,
	TELL_GONE,
	TELL_RECYCLED,
	TELL_SUSPECT,
};

/**
 * struct policy - what can be set for a peer, and as default for peers
 *
 * As struct sb_policy of the module.
 */
struct policy {
	uint32_t timeout_ms;
	uint32_t renotify_ms;
	uint32_t act_after_ms;
	unsigned int source : 2;
	unsigned int trigger : 1;
	unsigned int action : 2;
	unsigned int adaptive_beats : 4;
	unsigned int suspect_percent : 7;
};

/**
 * struct peer - a slot, and who has it
 * @node: place on the wheel
 * @user_data: opaque, returned with events
 * @heard_ms: newest time the peer is known to have been heard
 * @recycle_end_ms: in quarantine instead: when that is over
 * @beat_ms: the application's stamp, 0 for none
 * @cookie: the socket's SO_COOKIE: says whether @fd still is the same socket
 * @generation: of the present or the last peer, never 0 once used
 * @index: of the slot; constant
 * @fd: the socket
 * @policy: settings
 * @rhythm: in which it is heard
 * @looked: the call in which the socket was last looked at
 * @hash_next: next peer in the same bucket of the cookie table
 * @next: next on the ready list; next in order of release while free
 * @prev: previous on the ready list
 * @used: the slot is not free
 * @state: enum sockbeat_state
 * @pending: enum tell
 * @told: the newest event delivered was SUSPECT, SILENT or RECYCLED
 * @suspect: live, but not heard for policy.suspect_percent
 * @acted: enum sockbeat_action with which we ended the socket
 * @hold: keep the slot when the quarantine is over
 * @tcp_state: at the last look
 */
struct peer {
	struct sb_wheel_node node;
	uint64_t user_data;
	union {
		uint64_t heard_ms;
		uint64_t recycle_end_ms;
	};
	uint64_t beat_ms;
	uint64_t cookie;
	uint32_t generation;
	uint32_t index;
	int fd;
	struct policy policy;
	struct sb_adapt rhythm;
	uint32_t looked;
	uint32_t hash_next;
	uint32_t next;
	uint32_t prev;
	unsigned int used : 1;
	unsigned int state : 2;
	unsigned int pending : 3;
	unsigned int told : 1;
	unsigned int suspect : 1;
	unsigned int acted : 2;
	unsigned int hold : 1;
	unsigned int tcp_state : 5;
};

_Static_assert(sizeof(struct peer) <= 112, "with 4 to 8 bytes in the cookie table: at most 120");

/**
 * struct builtin - an engine's session
 * @wheel: when to look at which peer
 * @chunks: the slots, in pieces that never move; NULL where not yet used
 * @capacity: slots
 * @fresh: slots from here on were never used
 * @free_head: free slot to use next
 * @free_tail: free slot released last
 * @ready_head: peer to tell of next
 * @ready_tail: peer to tell of last
 * @buckets: cookie table: first peer of each bucket
 * @n_buckets: a power of two
 * @timer_fd: readable when there is something to do
 * @armed_ns: what it is set to, 0 for not
 * @policy: default for new peers
 * @adaptive_min_ms: shortest timeout that a rhythm leads to
 * @guard: the mass silence guard
 * @guard_next_ms: when to see whether it may end, while it is active
 * @jiffy_ms: grain of TCP's clock
 * @call: counts the calls that look at sockets
 * @stats: counters
 * @text: the last error of a full table
 */
struct builtin {
	struct sb_wheel wheel;
	struct peer **chunks;
	uint32_t capacity;
	uint32_t fresh;
	uint32_t free_head;
	uint32_t free_tail;
	uint32_t ready_head;
	uint32_t ready_tail;
	uint32_t *buckets;
	uint32_t n_buckets;
	int timer_fd;
	uint64_t armed_ns;
	struct policy policy;
	uint32_t adaptive_min_ms;
	struct sb_guard guard;
	uint64_t guard_next_ms;
	uint32_t jiffy_ms;
	uint32_t call;
	struct sockbeat_stats stats;
	char text[80];
};

static inline struct peer *peer_at(const struct builtin *b, uint32_t index)
{
	return &b->chunks[index >> CHUNK_BITS][index & (CHUNK_PEERS - 1)];
}

static inline uint64_t handle_of(const struct peer *peer)
{
	return (uint64_t)peer->generation << 32 | peer->index;
}

static inline bool has_socket(const struct peer *peer)
{
	return peer->state == SOCKBEAT_STATE_LIVE || peer->state == SOCKBEAT_STATE_SILENT;
}

static inline uint64_t idle_ms(const struct peer *peer, uint64_t now_ms)
{
	return now_ms > peer->heard_ms ? now_ms - peer->heard_ms : 0;
}

/* builtin_act.c */
uint64_t act_due_ms(const struct builtin *b, const struct peer *peer, uint64_t now_ms);
bool act_check(struct builtin *b, struct peer *peer, uint64_t now_ms);
void act_silence(struct builtin *b, const struct peer *peer, uint64_t now_ms);
void act_guard(struct builtin *b, uint64_t now_ms);

/* builtin_peer.c */
void peer_arm(struct builtin *b, struct peer *peer, uint64_t when_ms);
void peer_arm_live(struct builtin *b, struct peer *peer, uint64_t now_ms);
void peer_await(struct builtin *b, struct peer *peer, uint64_t when_ms, uint64_t now_ms);
uint64_t peer_again_ms(const struct builtin *b, const struct peer *peer, uint64_t now_ms);
uint32_t peer_limit_ms(const struct builtin *b, const struct peer *peer);
bool peer_clear(struct builtin *b, struct peer *peer, uint64_t now_ms);
void peer_gone(struct builtin *b, struct peer *peer);
int peer_check_socket(int fd, uint64_t *cookie, const char **why);
bool peer_has_fd(const struct peer *peer);
void peer_look(struct builtin *b, struct peer *peer, uint64_t now_ms);
bool peer_revive(struct builtin *b, struct peer *peer, uint64_t now_ms);
void peer_check(struct builtin *b, struct peer *peer, uint64_t now_ms);
void peer_become(struct builtin *b, struct peer *peer, enum sockbeat_state state);
void peer_let_go(struct builtin *b, struct peer *peer);
void peer_leave(struct builtin *b, struct peer *peer);

/* builtin_recycle.c */
int builtin_recycle(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n,
		    const struct sb_retire *how);
int builtin_extend(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n, uint32_t delay_ms);
void end_socket(const struct peer *peer, enum sockbeat_end end);
void recycle_check(struct builtin *b, struct peer *peer, uint64_t now_ms);
void recycle_told(struct builtin *b, struct peer *peer, uint64_t now_ms);

/* engine_builtin.c */
#define TRACKED	(1u << SOCKBEAT_STATE_LIVE | 1u << SOCKBEAT_STATE_SILENT | 1u << SOCKBEAT_STATE_GONE)

struct peer *entry_peer(struct sockbeat *sb, const char *what, struct sockbeat_peer *entry,
			size_t i, uint32_t states);
void set_timer(struct builtin *b);

/* builtin_table.c */
int table_init(struct builtin *b, uint32_t capacity);
void table_free(struct builtin *b);
struct peer *slot_find(const struct builtin *b, uint64_t handle);
struct peer *slot_take(struct builtin *b, int *err);
void slot_release(struct builtin *b, struct peer *peer);
bool cookie_known(const struct builtin *b, uint64_t cookie);
void cookie_insert(struct builtin *b, struct peer *peer);
void cookie_remove(struct builtin *b, struct peer *peer);
void ready_push(struct builtin *b, struct peer *peer, enum tell pending);
void ready_drop(struct builtin *b, struct peer *peer);

#endif /* SOCKBEAT_BUILTIN_H */
