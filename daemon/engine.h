/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What libsockbeat.c and the engines know of each other.
 *
 * libsockbeat.c checks arguments, so that both engines refuse the same values
 * with the same words; an engine sees only entries whose @error is 0.
 */
#ifndef SOCKBEAT_ENGINE_H
#define SOCKBEAT_ENGINE_H

#include <time.h>

#include "libsockbeat.h"

#define SB_TEXT_MAX	256

/**
 * struct sb_engine - an engine's functions
 * @kind: SOCKBEAT_ENGINE_KERNEL or SOCKBEAT_ENGINE_BUILTIN
 * @open: make a session; on failure nothing is left to close
 * @adopt: take over the session of a descriptor, NULL where that cannot be
 * @close: undo @open or @adopt
 * @add: as sockbeat_add(), but 0 or an error that concerns the whole call
 * @set: likewise
 * @del: as sockbeat_del()
 * @beat: as sockbeat_beat()
 * @events: as sockbeat_events()
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
	int (*del)(struct sockbeat *sb, const uint64_t *handles, size_t n);
	void (*beat)(struct sockbeat *sb, uint64_t handle);
	int (*events)(struct sockbeat *sb, struct sockbeat_event *events, int max);
	int (*get_stats)(struct sockbeat *sb, struct sockbeat_stats *stats);
	int (*get)(struct sockbeat *sb, uint64_t handle, struct sockbeat_info *info);
	int (*list)(struct sockbeat *sb, uint32_t states,
		    int (*cb)(const struct sockbeat_info *info, void *arg), void *arg);
};

/**
 * struct sockbeat - a session
 * @engine: its engine, NULL until one has opened it
 * @data: the engine's own
 * @event_fd: what sockbeat_fd() returns
 * @session_fd: what sockbeat_session_fd() returns, -1 for none
 * @capacity: slots
 * @error: text of the first failure of the last call, empty for none
 * @reason: why this engine is in use
 */
struct sockbeat {
	const struct sb_engine *engine;
	void *data;
	int event_fd;
	int session_fd;
	uint32_t capacity;
	char error[SB_TEXT_MAX];
	char reason[SB_TEXT_MAX];
};

extern const struct sb_engine sb_engine_kernel;
extern const struct sb_engine sb_engine_builtin;

int sb_fail(struct sockbeat *sb, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void sb_fail_peer(struct sockbeat *sb, const char *what, size_t i,
		  const struct sockbeat_peer *peer, const char *why);

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
