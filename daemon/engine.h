/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What libsockbeat.c and the engines know of each other.
 *
 * libsockbeat.c checks arguments, so that both engines refuse the same values
 * with the same words; an engine sees only entries whose @error is 0.
 */
#ifndef SOCKBEAT_ENGINE_H
#define SOCKBEAT_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "libsockbeat.h"
#include "match.h"

#define SB_TEXT_MAX	256

/* Entries that are handed to an engine at once where we make them. */
#define SB_CHUNK	64

/* In an entry's @mask, for recycle: keep the slot until del. */
#define SB_PEER_HOLD	(1u << 31)

/**
 * struct sb_retire - how to recycle peers
 * @delay_ms: time in quarantine
 * @end: what to do to the socket
 */
struct sb_retire {
	uint32_t delay_ms;
	enum sockbeat_end end;
};

/**
 * struct sb_engine - an engine's functions
 * @kind: SOCKBEAT_ENGINE_KERNEL or SOCKBEAT_ENGINE_BUILTIN
 * @open: make a session; on failure nothing is left to close
 * @adopt: take over the session of a descriptor, NULL where that cannot be
 * @close: undo @open or @adopt
 * @add: as sockbeat_add(), but 0 or an error that concerns the whole call
 * @set: likewise
 * @del: likewise
 * @recycle: likewise
 * @extend: likewise
 * @profile: register a profile under an id, or forget that of the id where it
 *	     is NULL; NULL where nothing has to be done
 * @position: tell where the application stands, NULL where nobody wants to know
 * @beat: as sockbeat_beat()
 * @events: as sockbeat_events()
 * @refresh: read again what others may have set, NULL where nobody can
 * @get_stats: as sockbeat_get_stats()
 * @get: as sockbeat_get()
 * @list: as sockbeat_list()
 */
struct sb_engine {
	enum sockbeat_engine kind;
	int (*open)(struct sockbeat *sb, const struct sockbeat_opts *opts);
	int (*adopt)(struct sockbeat *sb, int session_fd);
	void (*close)(struct sockbeat *sb);
	int (*add)(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n);
	int (*set)(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n);
	int (*del)(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n);
	int (*recycle)(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n,
		       const struct sb_retire *how);
	int (*extend)(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n,
		      uint32_t delay_ms);
	int (*profile)(struct sockbeat *sb, uint32_t id, const struct sb_profile *profile);
	void (*position)(struct sockbeat *sb, uint64_t handle, uint32_t rx, uint32_t tx);
	void (*beat)(struct sockbeat *sb, uint64_t handle);
	int (*events)(struct sockbeat *sb, struct sockbeat_event *events, int max);
	int (*refresh)(struct sockbeat *sb);
	int (*get_stats)(struct sockbeat *sb, struct sockbeat_stats *stats);
	int (*get)(struct sockbeat *sb, uint64_t handle, struct sockbeat_info *info);
	int (*list)(struct sockbeat *sb, uint32_t states,
		    int (*cb)(const struct sockbeat_info *info, void *arg), void *arg);
};

/**
 * struct sb_refs - references on handles, see recycle.c
 * @ref: for each slot
 * @bytes: length of @ref
 * @released: held slots whose last reference has gone, newest first
 * @taken: those of them that are being freed
 * @wake_fd: eventfd: there are such slots
 * @poll_fd: what sockbeat_fd() returns: readable when the engine's or @wake_fd is
 * @stale: references that were refused
 * @used: slots that are not free
 * @held: slots that are held
 * @held_total: slots that ever were
 *
 * @released and @stale are any thread's, the rest is the session's thread's.
 */
struct sb_refs {
	struct sb_ref *ref;
	size_t bytes;
	_Atomic uint32_t released;
	uint32_t taken;
	int wake_fd;
	int poll_fd;
	_Atomic uint64_t stale;
	uint32_t used;
	uint32_t held;
	uint64_t held_total;
};

/**
 * struct sockbeat - a session
 * @engine: its engine, NULL until one has opened it
 * @data: the engine's own
 * @event_fd: readable when the engine has events
 * @session_fd: what sockbeat_session_fd() returns, -1 for none
 * @capacity: slots
 * @recycle_delay_ms: default quarantine
 * @refs: references on handles
 * @profile: registered profiles by id, NULL for none
 * @check_positions: as in struct sockbeat_opts
 * @first: where a call is made in pieces, the number of the piece's first entry
 * @event_error: error to return when the events before it have been taken
 * @error: text of the first failure of the last call, empty for none
 * @reason: why this engine is in use
 */
struct sockbeat {
	const struct sb_engine *engine;
	void *data;
	int event_fd;
	int session_fd;
	uint32_t capacity;
	uint32_t recycle_delay_ms;
	struct sb_refs refs;
	struct sb_profile *profile[SOCKBEAT_MAX_PROFILES + 1];
	bool check_positions;
	size_t first;
	int event_error;
	char error[SB_TEXT_MAX];
	char reason[SB_TEXT_MAX];
};

extern const struct sb_engine sb_engine_kernel;
extern const struct sb_engine sb_engine_builtin;

int sb_fail(struct sockbeat *sb, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void sb_fail_peer(struct sockbeat *sb, const char *what, size_t i,
		  const struct sockbeat_peer *peer, const char *why);

/* libsockbeat.c */
void sb_begin_call(struct sockbeat *sb);

/* limits.c */
int sb_check_range(struct sockbeat *sb, const char *what, const char *name, uint64_t value,
		   uint64_t min, uint64_t max);
int sb_check_opts(struct sockbeat *sb, const struct sockbeat_opts *opts);
void sb_check_peers(struct sockbeat *sb, const char *what, struct sockbeat_peer *peers, size_t n);

/* offload.c */
int sb_offload_check_peer(struct sockbeat *sb, const char *what,
			  const struct sockbeat_peer *peer);
void sb_offload_close(struct sockbeat *sb);
int sb_offload_kernel_profile(struct sockbeat *sb, uint32_t id, const struct sb_profile *profile);
void sb_offload_kernel_position(struct sockbeat *sb, uint64_t handle, uint32_t rx, uint32_t tx);

/* recycle.c */
void sb_refs_init(struct sb_refs *refs);
int sb_refs_open(struct sockbeat *sb);
int sb_refs_adopt(struct sockbeat *sb);
void sb_refs_close(struct sb_refs *refs);
void sb_refs_add(struct sockbeat *sb, uint64_t handle);
void sb_refs_forget(struct sockbeat *sb, uint64_t handle);
bool sb_refs_tracked(const struct sockbeat *sb, uint64_t handle);
int sb_refs_recycle(struct sockbeat *sb, struct sockbeat_peer *peers, size_t n,
		    const struct sb_retire *how);
int sb_refs_released(struct sockbeat *sb, struct sockbeat_event *events, int max);
int sb_refs_filter(struct sockbeat *sb, struct sockbeat_event *events, int n);
void sb_refs_stats(const struct sockbeat *sb, struct sockbeat_stats *stats);

static inline uint64_t sb_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static inline uint64_t sb_now_ms(void)
{
	return sb_now_ns() / 1000000;
}

#endif /* SOCKBEAT_ENGINE_H */
